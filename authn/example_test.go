package authn_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"kubeletauth/authn"
)

// oneToken stands for an API server that knows one token.
type oneToken struct{}

func (oneToken) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	if spec.Token != "janes-token" {
		return &authn.TokenReviewStatus{Error: "invalid bearer token"}, nil
	}
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "jane", Groups: []string{"dev"}}}, nil
}

// The kubelet's chain, without client certificates.
func Example() {
	tokens := authn.Webhook{Reviewer: oneToken{}}
	chain := authn.OrAnonymous(authn.AddAuthenticatedGroup(authn.Union(
		authn.BearerToken{Tokens: tokens},
		authn.WebSocketProtocol{Tokens: tokens},
	)))
	for _, authorization := range []string{"Bearer janes-token", "", "Bearer stolen-token"} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Authorization", authorization)
		u, ok, err := chain.AuthenticateRequest(r)
		if !ok {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Println(u.Username, u.Groups)
	}
	// Output:
	// jane [dev system:authenticated]
	// system:anonymous [system:unauthenticated]
	// refused: invalid bearer token
}
