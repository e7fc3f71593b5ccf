package authz_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/testdata/vectors"
)

func TestAccessReviewVectors(t *testing.T) {
	vectors.Run(t, "sar", "authz", 27, func(t *testing.T, input, expect *vectors.Object) {
		api := &reviewer{status: vectors.Or(input, "status", &authz.SubjectAccessReviewStatus{})}
		var failure string
		if input.Get("review_error", &failure) {
			api.err = errors.New(failure)
		}
		if input.Has("ops") {
			checkOperators(t, api, input, expect)
			return
		}
		got, reason, err := newAuthorizer(t, api, input).Authorize(t.Context(), attributes(t, input))
		checkDecision(t, got, reason, err, expect)
		if want := vectors.Or(expect, "sars", 1); len(api.asked) != want {
			t.Fatalf("%d reviews, want %d", len(api.asked), want)
		}
		if len(api.asked) > 0 {
			checkSpec(t, api.asked[0], expect)
		}
	})
}

// reviewer is an AccessReviewer with one answer.
type reviewer struct {
	status *authz.SubjectAccessReviewStatus
	err    error
	asked  []authz.SubjectAccessReviewSpec
}

func (a *reviewer) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	a.asked = append(a.asked, spec)
	return a.status, a.err
}

func newAuthorizer(t *testing.T, api authz.AccessReviewer, input *vectors.Object) authz.Authorizer {
	t.Helper()
	switch mode := vectors.Or(input, "mode", "Webhook"); mode {
	case "AlwaysAllow":
		return authz.AlwaysAllow{}
	case "Webhook":
		return authz.Webhook{Reviewer: api}
	case "nobody":
	default:
		t.Fatalf("unknown mode %q", mode)
	}
	return authz.Webhook{}
}

// attributes are those of a row; a user may be given by name alone.
func attributes(t *testing.T, input *vectors.Object) authz.Attributes {
	t.Helper()
	var row struct {
		Verb, Namespace, APIGroup, APIVersion, Resource, Subresource, Name, Path string

		Labels, Fields []requirement
	}
	input.Get("attributes", &row)
	return authz.Attributes{
		User: user(t, input), Verb: row.Verb, Namespace: row.Namespace, APIGroup: row.APIGroup, APIVersion: row.APIVersion,
		Resource: row.Resource, Subresource: row.Subresource, Name: row.Name, Path: row.Path,
		LabelSelector: requirements(row.Labels), FieldSelector: requirements(row.Fields),
	}
}

func user(t *testing.T, input *vectors.Object) *authn.UserInfo {
	t.Helper()
	text := vectors.Or(input, "user", json.RawMessage(`"u"`))
	u := &authn.UserInfo{Groups: vectors.Or[[]string](input, "groups", nil)}
	if json.Unmarshal(text, &u.Username) == nil && u.Username != "" {
		return u
	}
	if err := json.Unmarshal(text, &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// requirement is [key, operator, values] in JSON.
type requirement authz.Requirement

func (r *requirement) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&r.Key, &r.Operator, &r.Values})
}

func requirements(rows []requirement) (list []authz.Requirement) {
	for _, row := range rows {
		list = append(list, authz.Requirement(row))
	}
	return list
}

func checkDecision(t *testing.T, got authz.Decision, reason string, err error, expect *vectors.Object) {
	t.Helper()
	names := map[authz.Decision]string{authz.DecisionAllow: "Allow", authz.DecisionDeny: "Deny", authz.DecisionNoOpinion: "NoOpinion"}
	if want := vectors.Or(expect, "decision", names[got]); names[got] != want {
		t.Errorf("decided %s, want %s", names[got], want)
	}
	if want := vectors.Or(expect, "reason", reason); reason != want {
		t.Errorf("reason %q, want %q", reason, want)
	}
	message := ""
	if err != nil {
		message = err.Error()
	}
	if want := vectors.Or(expect, "error", ""); message != want {
		t.Errorf("error %q, want %q", message, want)
	}
}

// checkSpec checks what was asked, in the form it is sent in.
func checkSpec(t *testing.T, got authz.SubjectAccessReviewSpec, expect *vectors.Object) {
	t.Helper()
	sent, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var fields, want map[string]any
	if err := json.Unmarshal(sent, &fields); err != nil {
		t.Fatal(err)
	}
	if expect.Get("spec", &want) {
		if diff := cmp.Diff(want, fields); diff != "" {
			t.Errorf("question (-want +got):\n%s", diff)
		}
	}
	if name := vectors.Or(expect, "spec_user", got.User); got.User != name {
		t.Errorf("user %q, want %q", got.User, name)
	}
	if groups := vectors.Or(expect, "groups", got.Groups); !cmp.Equal(groups, got.Groups) {
		t.Errorf("groups %q, want %q", got.Groups, groups)
	}
	for _, key := range []string{"extra", "uid"} {
		if _, there := fields[key]; vectors.Or(expect, key, "") == "absent" && there {
			t.Errorf("there is %s in %s", key, sent)
		}
	}
}

// checkOperators checks what becomes of one operator after the other.
func checkOperators(t *testing.T, api *reviewer, input, expect *vectors.Object) {
	t.Helper()
	label := vectors.Or(input, "selector", "") == "label"
	var got []string
	for _, op := range vectors.Or[[]string](input, "ops", nil) {
		a := authz.Attributes{User: &authn.UserInfo{Username: "u"}, Resource: "nodes"}
		list := []authz.Requirement{{Key: "k", Operator: op}}
		if label {
			a.LabelSelector = list
		} else {
			a.FieldSelector = list
		}
		if _, _, err := (authz.Webhook{Reviewer: api}).Authorize(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		got = append(got, operator(api.asked[len(api.asked)-1], label))
	}
	if diff := cmp.Diff(vectors.Or[[]string](expect, "mapped", nil), got); diff != "" {
		t.Errorf("operators (-want +got):\n%s", diff)
	}
}

func operator(spec authz.SubjectAccessReviewSpec, label bool) string {
	s := spec.ResourceAttributes.FieldSelector
	if label {
		s = spec.ResourceAttributes.LabelSelector
	}
	if s == nil {
		return "dropped"
	}
	return s.Requirements[0].Operator
}
