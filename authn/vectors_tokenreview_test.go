package authn_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/testdata/vectors"
)

// The rows are about times too: each has a clock of its own, which stands.
func TestTokenReviewVectors(t *testing.T) {
	vectors.Run(t, "tokenreview", "authn", 40, func(t *testing.T, input, expect *vectors.Object) {
		synctest.Test(t, func(t *testing.T) { checkTokenReview(t, input, expect) })
	})
}

func checkTokenReview(t *testing.T, input, expect *vectors.Object) {
	t.Helper()
	api := newReviewer(input)
	tokens := authn.Webhook{Audiences: vectors.Or[[]string](input, "audiences", nil)}
	if api != nil {
		tokens.Reviewer = api
	}
	token := vectors.Token(input)
	u, ok, err := tokens.AuthenticateToken(t.Context(), token)
	if wanted := expect.Has("user") || expect.Has("groups"); ok != wanted || ok != (u != nil) {
		t.Errorf("got %v, %t; want a user: %t", u, ok, wanted)
	}
	if vectors.Or(expect, "ok", ok) != ok {
		t.Errorf("ok: %t", ok)
	}
	checkError(t, err, expect)
	checkBearer(t, tokens, token, expect)
	if api != nil {
		api.check(t, expect)
	}
	expect.Elsewhere("http", "cached_for")
}

// reviewer is a TokenReviewer with one answer.
type reviewer struct {
	status *authn.TokenReviewStatus
	err    error
	asked  []authn.TokenReviewSpec
}

func (a *reviewer) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	a.asked = append(a.asked, spec)
	return a.status, a.err
}

func newReviewer(input *vectors.Object) *reviewer {
	a := &reviewer{}
	input.Get("status", &a.status)
	var text string
	if input.Get("review_error", &text) {
		a.err = errors.New(text)
	}
	if input.Get("reviewer", &text) && text == "off" {
		return nil
	}
	return a
}

// check checks the questions of one review, and of another through the header.
func (a *reviewer) check(t *testing.T, expect *vectors.Object) {
	t.Helper()
	if want := 2 * vectors.Or(expect, "reviews", 1); len(a.asked) != want {
		t.Fatalf("%d reviews, want %d", len(a.asked), want)
	}
	var want authn.TokenReviewSpec
	if expect.Get("spec", &want) {
		if diff := cmp.Diff(want, a.asked[0]); diff != "" {
			t.Errorf("question (-want +got):\n%s", diff)
		}
	}
}

// checkBearer checks what the whole chain makes of the token.
func checkBearer(t *testing.T, tokens authn.TokenAuthenticator, token string, expect *vectors.Object) {
	t.Helper()
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}
	u, ok, err := authn.AddAuthenticatedGroup(authn.BearerToken{Tokens: tokens}).AuthenticateRequest(r)
	if u == nil {
		if err == nil || ok {
			t.Fatalf("no user: %t, error %v", ok, err)
		}
		if got := err.Error(); got != vectors.Or(expect, "bearer_error", got) {
			t.Errorf("error %q", got)
		}
		if got := authn.IsRefusal(err); got != vectors.Or(expect, "refusal", got) {
			t.Errorf("a refusal: %t", got)
		}
		if strings.Contains(err.Error(), token) {
			t.Errorf("the token is in the error %q", err)
		}
		return
	}
	want := authn.UserInfo{
		Username: vectors.Or(expect, "user", u.Username),
		UID:      vectors.Or(expect, "uid", u.UID),
		Groups:   vectors.Or(expect, "groups", u.Groups),
		Extra:    vectors.Or(expect, "extra", u.Extra),
	}
	if diff := cmp.Diff(want, *u); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
}
