package upstream

import (
	"net/http"
	"net/textproto"
	"strings"
	"testing"
)

// Whatever a client calls a header, nothing goes upstream that a program which
// takes every other sign for an underscore would read as a credential or the word of
// a trusted proxy.
func FuzzHide(f *testing.F) {
	for _, name := range []string{"Authorization", "authorization_", "X_Remote-User", "x-remote.group", "X-Forwarded", "X-Forwarded-For", "Proxy", "Impersonate-Extra-a", "X-Original-Url", "Sec_WebSocket-Protocol", "Accept"} {
		f.Add(name, "v4, base64url.bearer.authorization.k8s.io.dG9r")
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		h := http.Header{}
		h.Add(name, value)
		h.Add("Sec-WebSocket-Protocol", value)
		h.Add("Accept", value)
		hide(h)
		if h.Get("Accept") == "" && value != "" {
			t.Fatalf("%q: nothing is left", name)
		}
		for name := range h {
			switch variable := "HTTP_" + strings.Map(variableSign, name); {
			case variable == "HTTP_AUTHORIZATION", variable == "HTTP_PROXY_AUTHORIZATION", variable == "HTTP_PROXY", variable == "HTTP_FORWARDED", variable == "HTTP_X_REAL_IP",
				variable == "HTTP_X_HTTP_METHOD_OVERRIDE", variable == "HTTP_X_ORIGINAL_URL", variable == "HTTP_X_REWRITE_URL",
				strings.HasPrefix(variable, "HTTP_X_REMOTE_"), strings.HasPrefix(variable, "HTTP_X_FORWARDED"), strings.HasPrefix(variable, "HTTP_IMPERSONATE_"),
				variable == "HTTP_SEC_WEBSOCKET_PROTOCOL" && name != textproto.CanonicalMIMEHeaderKey("Sec-WebSocket-Protocol"):
				t.Fatalf("%q goes upstream, as %s", name, variable)
			}
		}
		for protocol := range strings.SplitSeq(strings.Join(h["Sec-Websocket-Protocol"], ","), ",") {
			if strings.HasPrefix(strings.ToLower(strings.TrimSpace(protocol)), "base64url.bearer.authorization.k8s.io.") {
				t.Fatalf("the token %q goes upstream", protocol)
			}
		}
	})
}

func variableSign(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z':
		return r - 'a' + 'A'
	case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return r
	}
	return '_'
}
