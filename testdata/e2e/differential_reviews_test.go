package e2e

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
)

// rowUnreviewed is the row of the README's table under which our server asks less than the kubelet does.
const rowUnreviewed = "a token over 16 KiB, that is not UTF-8, with white space or control characters in it, or a JSON Web Token whose exp passed over ten minutes ago"

// compareReviews compares what the kubelet and our server asked the API server, as the API server's audit log shows it:
// each question that one of them asked, the other asked too, and everything about it is the same. How often a question
// was asked depends on what was remembered, and is not compared.
func compareReviews(t *testing.T, callers *callers, reviews []harness.Review) {
	t.Helper()
	kubelet, ours := questions(t, reviews, "kubelet/"), questions(t, reviews, "kubeletauth/")
	t.Logf("%d reviews: %d different ones by the kubelet, %d by ours", len(reviews), len(kubelet), len(ours))
	const few = 50
	if len(kubelet) < few {
		t.Errorf("the kubelet asked only %d questions", len(kubelet))
	}
	all := len(kubelet)
	maps.DeleteFunc(kubelet, func(_ string, q question) bool { return callers.isUnreviewed(q.token) })
	if len(kubelet) == all {
		t.Errorf("row %q: the kubelet had no such token reviewed either", rowUnreviewed)
	}
	for _, key := range slices.Sorted(maps.Keys(kubelet)) {
		if _, ok := ours[key]; !ok {
			t.Errorf("only the kubelet asked %.2000s", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(ours)) {
		if _, ok := kubelet[key]; !ok {
			t.Errorf("only our server asked %.2000s", key)
		}
	}
}

// question is what somebody asked the API server.
type question struct {
	AuditVerb, Caller, Group, Version, Resource string
	Status                                      int32
	Spec                                        any

	token string
}

// questions are the reviews of one user agent, by their text.
func questions(t *testing.T, reviews []harness.Review, agent string) map[string]question {
	t.Helper()
	all := map[string]question{}
	for _, review := range reviews {
		if !strings.HasPrefix(review.UserAgent, agent) {
			continue
		}
		if a := review.Access; a != nil && a.Spec.NonResourceAttributes != nil {
			continue // by which our server finds out whether it is ready
		}
		q := newQuestion(review)
		text, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		all[string(text)] = q
	}
	return all
}

// newQuestion is what a review asks. In the row rowSpec, our server's nodes/spec stands for the kubelet's
// nodes/checkpoint: see asCheckpoint.
func newQuestion(review harness.Review) question {
	q := question{
		AuditVerb: review.Verb, Caller: review.User.Username,
		Group: review.ObjectRef.APIGroup, Version: review.ObjectRef.APIVersion, Resource: review.ObjectRef.Resource,
		Status: review.ResponseStatus.Code,
	}
	switch {
	case review.Token != nil:
		q.Spec, q.token = review.Token.Spec, review.Token.Spec.Token
	case review.Access != nil:
		if r := review.Access.Spec.ResourceAttributes; r != nil && r.Subresource == "spec" {
			r.Subresource = "checkpoint"
		}
		q.Spec = review.Access.Spec
	}
	return q
}
