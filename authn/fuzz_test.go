package authn

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// A token is a part of the header between single spaces, whole, and the same
// token written plainly is read back.
func FuzzHeaderToken(f *testing.F) {
	for _, value := range []string{"", "Bearer tok", "bearer  tok", "Bearer tok junk", "Bearer\ttok", "BEARER to\tk", " Bearer x ", "Token x", "bearer"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, ok := HeaderToken(http.Header{"Authorization": {value}})
		if !ok {
			if token != "" {
				t.Fatalf("%q: token %q beside no", value, token)
			}
			return
		}
		if token == "" || strings.Contains(token, " ") || !strings.Contains(value, " "+token) {
			t.Fatalf("%q: token %q", value, token)
		}
		if again, ok := HeaderToken(http.Header{"Authorization": {"Bearer " + token}}); strings.TrimSpace(token) == token && (!ok || again != token) {
			t.Fatalf("%q: token %q is read back as %q", value, token, again)
		}
	})
}

// A token that is found is valid UTF-8 and was encoded in exactly one protocol;
// the others are all there still, in order, without it.
func FuzzWebSocketToken(f *testing.F) {
	const p = webSocketTokenPrefix
	for _, value := range []string{"", p + "dG9r, v4", "a, " + p + "dG9r ,b", p + "dG9r," + p + "dG9r,x", p + "dG9rMQ==,x", p + "++//,x", p + ",x", p + "_w,x", p + "dG9r"} {
		f.Add(value, "v5")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		token, others, err := WebSocketToken(http.Header{
			"Upgrade": {"WebSocket"}, "Connection": {"keep-alive, Upgrade"}, WebSocketProtocolHeader: {first, second},
		})
		if err != nil && (token != "" || others != "") {
			t.Fatalf("token %q and protocols %q beside %v", token, others, err)
		}
		if token == "" {
			return
		}
		if !utf8.ValidString(token) || strings.HasPrefix(others, p) || strings.Contains(others, ","+p) {
			t.Fatalf("token %q, others %q", token, others)
		}
		again, rest, err := WebSocketToken(http.Header{
			"Upgrade": {"websocket"}, "Connection": {"upgrade"}, WebSocketProtocolHeader: {others + "," + p + base64.RawURLEncoding.EncodeToString([]byte(token))},
		})
		if again != token || rest != others || err != nil {
			t.Fatalf("%q and %q are read back as %q and %q, %v", token, others, again, rest, err)
		}
	})
}
