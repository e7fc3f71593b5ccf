package oracle

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/user"

	"kubeletauth/authn"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestBearer compares what is read from the Authorization header, and what is left of it.
func TestBearer(t *testing.T) {
	s := generate.New(t)
	compareTokens(t, 400_000, func() http.Header { return authorization(s) },
		authn.BearerToken{Tokens: ourTokens{}}, bearertoken.New(kubernetesTokens{}))
}

// TestWebSocket compares what is read from the protocols of a WebSocket, and what is left of them.
func TestWebSocket(t *testing.T) {
	s := generate.New(t)
	compareTokens(t, 300_000, func() http.Header { return webSocket(s) },
		authn.WebSocketProtocol{Tokens: ourTokens{}}, websocket.NewProtocolAuthenticator(kubernetesTokens{}))
}

// compareTokens asks both authenticators about the same headers.
func compareTokens(t *testing.T, n int, header func() http.Header, ours authn.Authenticator, kubernetes authenticator.Request) {
	t.Helper()
	run(t, n, func() string {
		sent := header()
		r := &http.Request{Header: sent.Clone(), URL: new(url.URL)}
		got := ourAnswer(ours, r)
		k := &http.Request{Header: sent.Clone(), URL: new(url.URL)}
		want := kubernetesAnswer(kubernetes, k)
		if diff := answerDiff(want, got); diff != "" {
			return diff + "for " + cmp.Diff(nil, sent)
		}
		if !sameHeader(k.Header, r.Header) {
			return "the header that is left: " + cmp.Diff(k.Header, r.Header)
		}
		return ""
	})
}

// sameHeader compares headers of few and short values without the cost of cmp.Equal.
func sameHeader(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name, values := range a {
		if strings.Join(values, "\x00") != strings.Join(b[name], "\x00") || len(values) != len(b[name]) {
			return false
		}
	}
	return true
}

// judge is what both sides say of a token: its own text decides.
func judge(token string) (ok bool, err error) {
	switch {
	case strings.Contains(token, "bad"):
		return false, errors.New("bad token")
	case strings.Contains(token, "unknown"):
		return false, nil
	}
	return true, nil
}

type ourTokens struct{}

func (ourTokens) AuthenticateToken(_ context.Context, token string) (*authn.UserInfo, bool, error) {
	ok, err := judge(token)
	if !ok {
		return nil, false, err
	}
	return &authn.UserInfo{Username: "user of " + token}, true, nil
}

type kubernetesTokens struct{}

func (kubernetesTokens) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	ok, err := judge(token)
	if !ok {
		return nil, false, err
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: "user of " + token}}, true, nil
}

// anyToken is what stands where a token should be.
func anyToken(s *generate.Source) string {
	token := generate.Pick(s, "good", "bad", "unknown", "", "a.b.c", "tök", "\xff", "Bearer", "=") + s.Text(2, "x", " ", "\t", ".", "/")
	if s.Chance(6) {
		return s.Mangle(token)
	}
	return token
}

// authorization are the Authorization headers of a request.
func authorization(s *generate.Source) http.Header {
	header := http.Header{"Accept": {"*/*"}}
	values := generate.List(s, 2, func() string {
		scheme := generate.Pick(s, "Bearer", "Bearer", "bearer", "BEARER", "Basic", "", "Bearer:", "bear", "ſearer", "Bearer\u212a")
		if s.Chance(6) {
			scheme = s.MixCase(scheme)
		}
		space := func() string { return generate.Pick(s, " ", " ", " ", "  ", "\t", "", "\u00a0", "\n") }
		value := generate.Pick(s, "", "", "", " ", "\t", "\v", "\u0085") + scheme + space() + anyToken(s)
		if s.Chance(3) {
			value += space() + anyToken(s) + space()
		}
		return value
	})
	if values != nil {
		header["Authorization"] = values
	}
	return header
}

// webSocket are the headers of a request that is, or nearly is, one for a WebSocket.
func webSocket(s *generate.Source) http.Header {
	header := http.Header{}
	set := func(name string, values []string) {
		if values != nil {
			header[name] = values
		}
	}
	set("Upgrade", generate.List(s, 2, func() string {
		return generate.Pick(s, "websocket", "websocket", "websocket", "WebSocket", "websocket ", "spdy/3.1", "", "webſocket")
	}))
	set("Connection", generate.List(s, 2, func() string {
		return generate.Pick(s, "Upgrade", "upgrade", "keep-alive, Upgrade", "UPGRADED", "close", "", "noupgrades")
	}))
	set("Sec-Websocket-Protocol", generate.List(s, 3, func() string {
		line := protocol(s)
		for range s.Upto(2) {
			line += generate.Pick(s, ",", ", ", " ,\t", ",,") + protocol(s)
		}
		return line
	}))
	return header
}

// protocol is one WebSocket protocol.
func protocol(s *generate.Source) string {
	const prefix = "base64url.bearer.authorization.k8s.io."
	if s.Chance(2) {
		return generate.Pick(s, "v4.channel.k8s.io", "v5.channel.k8s.io", "", " ", "base64url.bearer", "Base64url.bearer.authorization.k8s.io.Z29vZA")
	}
	encoding := generate.Pick(s, base64.RawURLEncoding, base64.RawURLEncoding, base64.RawURLEncoding, base64.URLEncoding, base64.RawStdEncoding)
	encoded := encoding.EncodeToString([]byte(anyToken(s)))
	if s.Chance(8) {
		encoded = s.Mangle(encoded)
	}
	return prefix + encoded
}
