package authn

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// WebSocketProtocolHeader lists the subprotocols of a WebSocket, in the
	// form that a map of headers has it.
	WebSocketProtocolHeader = "Sec-Websocket-Protocol"

	webSocketTokenPrefix = "base64url.bearer.authorization.k8s.io."
)

// WebSocketProtocol authenticates the token that a browser, which cannot set
// an Authorization header on a WebSocket, hides in a subprotocol:
//
//	Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.<token>, v4.channel.k8s.io
//
// (k8s.io/apiserver pkg/authentication/request/websocket/protocol.go). The
// token is unpadded base64url, and at least one other protocol must be there.
// When the token is accepted, its protocol is removed from the request and the
// others are joined in one header. Without Tokens, on a request that is not a
// WebSocket upgrade, and without such a protocol, it has no opinion.
type WebSocketProtocol struct {
	Tokens TokenAuthenticator
}

// AuthenticateRequest authenticates the token in r's WebSocket protocols.
func (a WebSocketProtocol) AuthenticateRequest(r *http.Request) (*UserInfo, bool, error) {
	if a.Tokens == nil {
		return nil, false, nil
	}
	token, others, err := WebSocketToken(r.Header)
	if err != nil || token == "" {
		return nil, false, err
	}
	u, err := TokenUser(r.Context(), a.Tokens, token)
	if err != nil {
		return nil, false, err
	}
	r.Header.Set(WebSocketProtocolHeader, others)
	return u, true, nil
}

// WebSocketToken returns the token among the subprotocols of a WebSocket
// upgrade, and the other protocols joined by commas. An empty token without an
// error is none; an error is a token that is malformed, or one too many.
func WebSocketToken(h http.Header) (token, others string, err error) {
	if len(h[WebSocketProtocolHeader]) == 0 || !isWebSocket(h) {
		return "", "", nil
	}
	var rest []string
	found := false
	for _, line := range h[WebSocketProtocolHeader] {
		for protocol := range strings.SplitSeq(line, ",") {
			protocol = strings.TrimSpace(protocol)
			encoded, isToken := strings.CutPrefix(protocol, webSocketTokenPrefix)
			switch {
			case !isToken:
				rest = append(rest, protocol)
				continue
			case found:
				return "", "", &InvalidTokenError{"multiple base64.bearer.authorization tokens specified"}
			}
			found = true
			if token, err = decodeWebSocketToken(encoded); err != nil {
				return "", "", err
			}
		}
	}
	if token != "" && len(rest) == 0 {
		return "", "", &InvalidTokenError{"missing additional subprotocol"}
	}
	return token, strings.Join(rest, ","), nil
}

func decodeWebSocketToken(encoded string) (string, error) {
	token, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", &InvalidTokenError{"invalid base64.bearer.authorization token encoding"}
	}
	if !utf8.Valid(token) {
		return "", &InvalidTokenError{"invalid base64.bearer.authorization token"}
	}
	return string(token), nil
}

// isWebSocket is IsWebSocketRequest of k8s.io/streaming
// pkg/httpstream/wsstream/conn.go: the word upgrade anywhere in Connection will do.
func isWebSocket(h http.Header) bool {
	return strings.EqualFold(h.Get("Upgrade"), "websocket") && slices.ContainsFunc(h["Connection"], func(value string) bool {
		return strings.Contains(strings.ToLower(value), "upgrade")
	})
}
