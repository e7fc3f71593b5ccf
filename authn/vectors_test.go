package authn_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/testdata/vectors"
)

// reviewed is a TokenAuthenticator that gives one answer to every token: ok,
// refused, nobody (accepted without a user) or "error: " and a reason.
type reviewed struct {
	answer string
	tokens []string // that were asked about
}

func (a *reviewed) AuthenticateToken(_ context.Context, token string) (*authn.UserInfo, bool, error) {
	a.tokens = append(a.tokens, token)
	switch reason, failed := strings.CutPrefix(a.answer, "error: "); {
	case failed:
		return nil, false, errors.New(reason)
	case a.answer == "refused":
		return nil, false, nil
	case a.answer == "nobody":
		return nil, true, nil
	}
	return &authn.UserInfo{Username: "u"}, true, nil
}

// authenticator returns a itself as an interface, or nil where there is nobody
// to ask.
func (a *reviewed) authenticator() authn.TokenAuthenticator {
	if a.answer == "off" {
		return nil
	}
	return a
}

func TestBearerVectors(t *testing.T) {
	vectors.Run(t, "bearer", "authn", 39, func(t *testing.T, input, expect *vectors.Object) {
		const name = "Authorization"
		r := &http.Request{Header: http.Header{name: vectors.Or[[]string](input, name, nil)}}
		tokens := &reviewed{answer: vectors.Or(input, "review", "ok")}
		checkToken(t, r, authn.BearerToken{Tokens: tokens.authenticator()}, tokens, expect)
		checkHeader(t, r, name, expect)
	})
}

func TestWebSocketVectors(t *testing.T) {
	vectors.Run(t, "websocket", "authn", 52, func(t *testing.T, input, expect *vectors.Object) {
		const name = authn.WebSocketProtocolHeader
		r := &http.Request{Header: http.Header{}}
		for name, values := range vectors.Or[map[string]vectors.Strings](input, "headers", nil) {
			for _, value := range values {
				r.Header.Add(name, value)
			}
		}
		tokens := &reviewed{answer: vectors.Or(input, "review", "ok")}
		checkToken(t, r, authn.WebSocketProtocol{Tokens: tokens.authenticator()}, tokens, expect)
		var protocols string
		if expect.Get("on_success_header", &protocols) {
			if diff := cmp.Diff([]string{protocols}, r.Header[name]); diff != "" {
				t.Errorf("protocols (-want +got):\n%s", diff)
			}
		}
		checkHeader(t, r, name, expect)
	})
}

// checkToken checks which token was asked about, and what became of it.
func checkToken(t *testing.T, r *http.Request, a authn.Authenticator, tokens *reviewed, expect *vectors.Object) {
	t.Helper()
	u, ok, err := a.AuthenticateRequest(r)
	var want []string
	if expect.Has("token") {
		want = []string{vectors.Or(expect, "token", "")}
	}
	if diff := cmp.Diff(want, tokens.tokens); diff != "" {
		t.Errorf("tokens asked about (-want +got):\n%s", diff)
	}
	var message string
	switch wantErr := expect.Get("error", &message); {
	case wantErr && (err == nil || err.Error() != message || ok || u != nil):
		t.Errorf("got %v, %t, error %v; want the error %q alone", u, ok, err, message)
	case !wantErr && err != nil:
		t.Errorf("error %v, want none", err)
	case !wantErr && ok != (want != nil) || ok != (u != nil):
		t.Errorf("got %v, %t; accepted: %t", u, ok, want != nil)
	}
	if result := vectors.Or(expect, "result", "no-opinion"); result != "no-opinion" {
		t.Errorf("unknown result %q", result)
	}
}

// checkHeader checks what is left of a header; null means that it is removed.
func checkHeader(t *testing.T, r *http.Request, name string, expect *vectors.Object) {
	t.Helper()
	var want []string
	if !expect.Get("header_after", &want) {
		return
	}
	if diff := cmp.Diff(want, r.Header[name]); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
