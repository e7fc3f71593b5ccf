package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"

	"kubeletauth/authz"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestAccessReview compares what is asked about attributes of all kinds, and what is decided by the answer.
func TestAccessReview(t *testing.T) {
	s := generate.New(t)
	api := &memory{}
	const forgetAtOnce = -time.Hour
	kubernetes, err := webhook.NewFromInterface(api.authorization(t), forgetAtOnce, forgetAtOnce, once(), authorizer.DecisionNoOpinion,
		metrics.NoopAuthorizerMetrics{}, authorizationcel.NewDefaultCompiler())
	if err != nil {
		t.Fatal(err)
	}
	run(t, 100_000, func() string {
		ours, record := anyAttributes(s)
		status := anyAccessStatus(s)
		api.answer = mustJSON(map[string]any{"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": status})
		api.asked = nil
		want := newDecision(kubernetes.Authorize(t.Context(), record))
		reviewer := &accessReviewer{answer: mustJSON(status)}
		d, reason, err := authz.Webhook{Reviewer: reviewer}.Authorize(t.Context(), ours)
		got := newDecision(kubernetesDecision(d), reason, err)
		if asked := specOf(api.asked); !cmp.Equal(asked, anyJSON(reviewer.asked)) {
			return "the question: " + cmp.Diff(asked, anyJSON(reviewer.asked))
		}
		if want != got {
			return fmt.Sprintf("%s: decided %+v, want %+v", api.answer, got, want)
		}
		return ""
	})
}

// decision is what an authorizer said.
type decision struct {
	authorizer.Decision
	reason, err string
}

// newDecision puts it together.
func newDecision(d authorizer.Decision, reason string, err error) decision {
	return decision{d, reason, errorText(err)}
}

// kubernetesDecision is a decision of ours as Kubernetes numbers it.
func kubernetesDecision(d authz.Decision) authorizer.Decision {
	switch d {
	case authz.DecisionAllow:
		return authorizer.DecisionAllow
	case authz.DecisionNoOpinion:
		return authorizer.DecisionNoOpinion
	}
	return authorizer.DecisionDeny
}

// accessReviewer answers our side with a status in JSON, and keeps the question.
type accessReviewer struct {
	answer []byte
	asked  authz.SubjectAccessReviewSpec
}

func (a *accessReviewer) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	a.asked = spec
	status := &authz.SubjectAccessReviewStatus{}
	return status, json.Unmarshal(a.answer, status)
}

// anyAccessStatus is the status of an access review, with any of its fields.
func anyAccessStatus(s *generate.Source) map[string]any {
	status := map[string]any{}
	for name, value := range map[string]any{
		"allowed": s.Chance(2), "denied": s.Chance(3), "reason": generate.Pick(s, "", "RBAC: allowed by ..."),
		"evaluationError": generate.Pick(s, "", "no such role"), "new": "field",
	} {
		if s.Chance(2) {
			status[name] = value
		}
	}
	return status
}

// anyAttributes are the same attributes twice.
func anyAttributes(s *generate.Source) (authz.Attributes, authorizer.AttributesRecord) {
	word := func() string { return generate.Pick(s, "", "", "get", "nodes", "proxy", "n1", "v1", "<&>", "ö") }
	u := anyUser(s)
	a := authz.Attributes{
		User: u, Verb: word(), Namespace: word(), APIGroup: word(), APIVersion: word(), Resource: word(),
		Subresource: word(), Name: word(), Path: generate.Pick(s, "", "/healthz", "/stats/summary"),
	}
	record := authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: u.Username, UID: u.UID, Groups: u.Groups, Extra: u.Extra},
		Verb: a.Verb, Namespace: a.Namespace, APIGroup: a.APIGroup, APIVersion: a.APIVersion, Resource: a.Resource,
		Subresource: a.Subresource, Name: a.Name, Path: a.Path, ResourceRequest: a.Resource != "",
	}
	for range generate.Pick(s, 0, 0, 1, 2) {
		addSelectors(s, &a, &record)
	}
	return a, record
}

// addSelectors adds a requirement to each selector.
func addSelectors(s *generate.Source, a *authz.Attributes, record *authorizer.AttributesRecord) {
	operator := generate.Pick(s, selection.Equals, selection.DoubleEquals, selection.In, selection.NotEquals, selection.NotIn,
		selection.Exists, selection.DoesNotExist, selection.GreaterThan, selection.LessThan, selection.Operator("other"))
	key, value := generate.Pick(s, "spec.nodeName", "k"), generate.Pick(s, "7", "", "v")
	a.FieldSelector = append(a.FieldSelector, authz.Requirement{Key: key, Operator: string(operator), Values: []string{value}})
	record.FieldSelectorRequirements = append(record.FieldSelectorRequirements, fields.Requirement{Field: key, Operator: operator, Value: value})

	values := generate.List(s, 3, func() string { return generate.Pick(s, "7", "8", "v", "") })
	label, err := labels.NewRequirement(key, operator, values)
	if err != nil {
		return
	}
	a.LabelSelector = append(a.LabelSelector, authz.Requirement{Key: key, Operator: string(operator), Values: label.ValuesUnsorted()})
	record.LabelSelectorRequirements = append(record.LabelSelectorRequirements, *label)
}
