package authz_test

import (
	"testing"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// An embedder's reviewer may return neither an answer nor an error.
func TestReviewWithoutAnswer(t *testing.T) {
	d, reason, err := authz.Webhook{Reviewer: &reviewer{}}.Authorize(t.Context(), authz.Attributes{User: &authn.UserInfo{Username: "ann"}, Verb: "get", Path: "/x"})
	if d != authz.DecisionNoOpinion || reason != "" || err == nil {
		t.Errorf("%v, %q, %v; want no opinion and an error", d, reason, err)
	}
}
