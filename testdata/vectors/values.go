package vectors

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Strings is a list of strings that a row may write as a single one.
type Strings []string

// UnmarshalJSON takes a string for a list of one.
func (list *Strings) UnmarshalJSON(text []byte) error {
	if text[0] != '[' {
		text = slices.Concat([]byte("["), text, []byte("]"))
	}
	return json.Unmarshal(text, (*[]string)(list))
}

// Token returns the token that a row about tokens has: a plain one, one of
// token_bytes, or a JSON Web Token with claims, of which durations are taken
// for times that far from now. A suffix goes to its end, or to its payload's.
func Token(input *Object) string {
	var claims map[string]string
	if !input.Get("claims", &claims) {
		if n := Or(input, "token_bytes", 0); n > 0 {
			return strings.Repeat("t", n)
		}
		return "t0k"
	}
	payload := map[string]any{"sub": "u"}
	for name, text := range claims {
		payload[name] = text
		if d, err := time.ParseDuration(text); err == nil {
			payload[name] = time.Now().Add(d).Unix()
		}
	}
	text, _ := json.Marshal(payload) // strings and numbers never fail
	parts := []string{encode([]byte(`{"alg":"none"}`)), encode(text), "sig"}
	at := 2
	if Or(input, "suffix_of", "token") == "payload" {
		at = 1
	}
	parts[at] += Or(input, "suffix", "")
	return strings.Join(parts, ".")
}

func encode(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

// Present adds the credentials of a row about the chain to h: a token, an
// Authorization header as it stands, or a token among WebSocket protocols.
func Present(h http.Header, input *Object) {
	var text string
	if input.Get("token", &text) {
		h.Set("Authorization", "Bearer "+text)
	}
	if input.Get("Authorization", &text) {
		h.Set("Authorization", text)
	}
	if input.Get("websocket", &text) {
		PresentWebSocket(h, text)
	}
}

// PresentWebSocket adds a token among WebSocket protocols to h; "=" is one that
// is malformed.
func PresentWebSocket(h http.Header, token string) {
	if token != "=" {
		token = encode([]byte(token))
	}
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io."+token+", v4.channel.k8s.io")
}

// Like reports whether text is what pattern says, in which "..." stands for
// anything.
func Like(text, pattern string) bool {
	head, rest, found := strings.Cut(pattern, "...")
	if !found {
		return text == pattern
	}
	text, ok := strings.CutPrefix(text, head)
	for ok && text != "" && !Like(text, rest) {
		text = text[1:]
	}
	return ok && Like(text, rest)
}
