package upstream

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"kubeletauth/authn"
)

// hide removes what must not go upstream from a header or a trailer.
func hide(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool { return isHidden(name) })
	if lines := h[authn.WebSocketProtocolHeader]; lines != nil {
		h.Set(authn.WebSocketProtocolHeader, withoutTokens(lines))
	}
}

// isHidden reports whether a header must not go upstream. An upstream that makes
// variables of headers, as CGI does, cannot tell an underscore from a hyphen, nor
// perhaps any other sign; so neither are they told apart here.
func isHidden(name string) bool {
	var folded [23]byte // more than the longest name below
	for i := range min(len(name), len(folded)) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			folded[i] = c
		case 'A' <= c && c <= 'Z':
			folded[i] = c | 0x20
		default:
			folded[i] = '-'
		}
	}
	switch string(folded[:min(len(name), len(folded))]) {
	case "authorization", "proxy-authorization", "http2-settings",
		"forwarded", "x-real-ip", // only a trusted proxy may say these
		"proxy",                                                        // to CGI, the proxy to use
		"x-http-method-override", "x-http-method", "x-method-override", // than the one that was authorized
		"x-original-url", "x-original-uri", "x-rewrite-url": // likewise
		return true
	case "sec-websocket-protocol":
		return name != authn.WebSocketProtocolHeader
	}
	start := string(folded[:12])
	return strings.HasPrefix(start, "x-remote-") || strings.HasPrefix(start, "x-forwarded") || start == "impersonate-"
}

// withoutTokens returns WebSocket protocols without those that are tokens, good
// or bad; see [authn.WebSocketProtocol].
func withoutTokens(lines []string) string {
	protocols := strings.Split(strings.Join(lines, ","), ",")
	return strings.Join(slices.DeleteFunc(protocols, func(protocol string) bool {
		return strings.HasPrefix(strings.ToLower(strings.TrimSpace(protocol)), "base64url.bearer.authorization.k8s.io.")
	}), ",")
}

// setIdentity tells who asks (SetAuthProxyHeaders of k8s.io/client-go
// transport/round_trippers.go). A value arrives as it is or not at all: net/http
// refuses one with control characters.
func setIdentity(r *http.Request) error {
	user, ok := authn.UserFrom(r.Context())
	if !ok || user.Username == "" {
		return fmt.Errorf("the upstream is to be told who asks, and there is no user: is there a filter in front?")
	}
	identity := map[string][]string{"User": {user.Username}, "Group": user.Groups}
	if user.UID != "" {
		identity["Uid"] = []string{user.UID}
	}
	for key, values := range user.Extra {
		identity["Extra-"+strings.ReplaceAll(url.QueryEscape(key), "+", "%20")] = values
	}
	for name, values := range identity {
		for _, value := range values {
			if strings.TrimSpace(value) != value {
				return fmt.Errorf("X-Remote-%s cannot hold a value that begins or ends with a space", name)
			}
			r.Header.Add("X-Remote-"+name, value)
		}
	}
	return nil
}
