package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// TokenReviewSpec is the question of a TokenReview, in the JSON form of
// authentication.k8s.io.
type TokenReviewSpec struct {
	Token     string   `json:"token,omitempty"`
	Audiences []string `json:"audiences,omitempty"`
}

// TokenReviewStatus is the answer of a TokenReview, in the JSON form of
// authentication.k8s.io.
type TokenReviewStatus struct {
	Authenticated bool     `json:"authenticated,omitempty"`
	User          UserInfo `json:"user"`
	Audiences     []string `json:"audiences,omitempty"`
	Error         string   `json:"error,omitempty"`
}

// A TokenReviewer asks an API server to review a token. It must be safe for
// concurrent use and end when ctx does. An error means that there is no answer;
// it must not contain the token.
type TokenReviewer interface {
	ReviewToken(ctx context.Context, spec TokenReviewSpec) (*TokenReviewStatus, error)
}

// Webhook authenticates bearer tokens by asking an API server (k8s.io/apiserver
// plugin/pkg/authenticator/token/webhook/webhook.go).
//
// A token over 16 KiB, one with white space or control characters in it, and a
// JSON Web Token whose exp passed more than ten minutes ago are refused without
// a review. An authenticated answer without a user name is refused. Refusals with
// a reason are an [*InvalidTokenError]; any other error means that the review
// failed. Without a Reviewer, and of a refusal without a reason, it has no opinion,
// which [TokenUser] takes for a refusal.
type Webhook struct {
	Reviewer TokenReviewer
	// Audiences are those that a token must be meant for, at least one of
	// them. Empty, as in the kubelet: the API server's own, checked by it.
	Audiences []string
}

// AuthenticateToken asks for one review of token.
func (a Webhook) AuthenticateToken(ctx context.Context, token string) (*UserInfo, bool, error) {
	if a.Reviewer == nil {
		return nil, false, nil
	}
	if err := refuseUnreviewed(token); err != nil {
		return nil, false, err
	}
	status, err := a.Reviewer.ReviewToken(ctx, TokenReviewSpec{Token: token, Audiences: a.Audiences})
	if err == nil && status == nil {
		err = errors.New("the token reviewer returned no answer")
	}
	if err != nil {
		return nil, false, err
	}
	return a.user(status)
}

func (a Webhook) user(status *TokenReviewStatus) (*UserInfo, bool, error) {
	switch {
	case !status.Authenticated && status.Error != "":
		return nil, false, &InvalidTokenError{status.Error}
	case !status.Authenticated:
		return nil, false, nil
	case !a.meets(status.Audiences):
		return nil, false, &InvalidTokenError{fmt.Sprintf("the token is for the audiences %q, not for one of %q", status.Audiences, a.Audiences)}
	case status.User.Username == "":
		return nil, false, &InvalidTokenError{"the API server authenticated the token without a user name"}
	}
	return &status.User, true, nil
}

// meets reports whether a token for these audiences is meant for us. An answer
// without audiences comes from an API server that does not know them, and says
// nothing of ours.
func (a Webhook) meets(audiences []string) bool {
	return len(a.Audiences) == 0 || slices.ContainsFunc(audiences, func(audience string) bool {
		return slices.Contains(a.Audiences, audience)
	})
}
