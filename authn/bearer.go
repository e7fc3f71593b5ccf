package authn

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// errInvalidToken is what a refusal without a reason of its own is called.
var errInvalidToken = errors.New("invalid bearer token")

// BearerToken authenticates the token of an "Authorization: Bearer" header
// (k8s.io/apiserver pkg/authentication/request/bearertoken/bearertoken.go).
// When the token is accepted, all Authorization headers are removed from the
// request. Without Tokens, or without such a header, it has no opinion.
type BearerToken struct {
	Tokens TokenAuthenticator
}

// AuthenticateRequest authenticates the token in r's Authorization header.
func (a BearerToken) AuthenticateRequest(r *http.Request) (*UserInfo, bool, error) {
	token, ok := HeaderToken(r.Header)
	if !ok || a.Tokens == nil {
		return nil, false, nil
	}
	u, err := TokenUser(r.Context(), a.Tokens, token)
	if err != nil {
		return nil, false, err
	}
	r.Header.Del("Authorization")
	return u, true, nil
}

// TokenUser returns the user of a token that a request came with. Here no
// opinion is a refusal too, the error "invalid bearer token"; [IsRefusal] tells
// refusals from failures.
func TokenUser(ctx context.Context, tokens TokenAuthenticator, token string) (*UserInfo, error) {
	u, ok, err := tokens.AuthenticateToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if !ok || u == nil {
		return nil, errInvalidToken
	}
	return u, nil
}

// HeaderToken returns the bearer token of the first Authorization header. The
// scheme is compared without regard to case, single spaces separate, and what
// follows the token is ignored. Another scheme, or an empty token, is none.
func HeaderToken(h http.Header) (token string, ok bool) {
	values := h["Authorization"]
	if len(values) == 0 {
		return "", false
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	token, _, _ = strings.Cut(rest, " ")
	return token, token != ""
}
