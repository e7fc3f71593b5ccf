package authz

import (
	"context"
	"errors"
)

// SubjectAccessReviewSpec is the question of a SubjectAccessReview, in the JSON
// form of authorization.k8s.io/v1. Exactly one kind of attributes is set.
type SubjectAccessReviewSpec struct {
	ResourceAttributes    *ResourceAttributes    `json:"resourceAttributes,omitempty"`
	NonResourceAttributes *NonResourceAttributes `json:"nonResourceAttributes,omitempty"`
	User                  string                 `json:"user,omitempty"`
	Groups                []string               `json:"groups,omitempty"`
	Extra                 map[string][]string    `json:"extra,omitempty"`
	UID                   string                 `json:"uid,omitempty"`
}

// ResourceAttributes are those of a request for a resource.
type ResourceAttributes struct {
	Namespace     string    `json:"namespace,omitempty"`
	Verb          string    `json:"verb,omitempty"`
	Group         string    `json:"group,omitempty"`
	Version       string    `json:"version,omitempty"`
	Resource      string    `json:"resource,omitempty"`
	Subresource   string    `json:"subresource,omitempty"`
	Name          string    `json:"name,omitempty"`
	FieldSelector *Selector `json:"fieldSelector,omitempty"`
	LabelSelector *Selector `json:"labelSelector,omitempty"`
}

// NonResourceAttributes are those of a request for any other URL.
type NonResourceAttributes struct {
	Path string `json:"path,omitempty"`
	Verb string `json:"verb,omitempty"`
}

// SubjectAccessReviewStatus is the answer of a SubjectAccessReview, in the JSON
// form of authorization.k8s.io/v1.
type SubjectAccessReviewStatus struct {
	Allowed         bool   `json:"allowed"`
	Denied          bool   `json:"denied,omitempty"`
	Reason          string `json:"reason,omitempty"`
	EvaluationError string `json:"evaluationError,omitempty"`
}

// An AccessReviewer asks an API server to review a user's access. It must be
// safe for concurrent use and end when ctx does. An error means that there is
// no answer.
type AccessReviewer interface {
	ReviewAccess(ctx context.Context, spec SubjectAccessReviewSpec) (*SubjectAccessReviewStatus, error)
}

// Webhook decides by asking an API server (k8s.io/apiserver
// plugin/pkg/authorizer/webhook/webhook.go). An answer that both allows and
// denies is an error. Without a Reviewer, or for attributes without a user, it
// denies with an error.
type Webhook struct {
	Reviewer AccessReviewer
}

// Authorize asks for one review.
func (z Webhook) Authorize(ctx context.Context, a Attributes) (Decision, string, error) {
	if z.Reviewer == nil || a.User == nil {
		return DecisionDeny, "", errors.New("no user, or no reviewer to ask about it")
	}
	status, err := z.Reviewer.ReviewAccess(ctx, reviewSpec(a))
	if err == nil && status == nil {
		err = errors.New("the access reviewer returned no answer")
	}
	if err != nil {
		return DecisionNoOpinion, "", err
	}
	switch {
	case status.Denied && status.Allowed:
		return DecisionDeny, status.Reason, errors.New("webhook subject access review returned both allow and deny response")
	case status.Denied:
		return DecisionDeny, status.Reason, nil
	case status.Allowed:
		return DecisionAllow, status.Reason, nil
	}
	return DecisionNoOpinion, status.Reason, nil
}

func reviewSpec(a Attributes) SubjectAccessReviewSpec {
	spec := SubjectAccessReviewSpec{User: a.User.Username, UID: a.User.UID, Groups: a.User.Groups, Extra: a.User.Extra}
	if a.Resource == "" {
		spec.NonResourceAttributes = &NonResourceAttributes{Path: a.Path, Verb: a.Verb}
		return spec
	}
	spec.ResourceAttributes = &ResourceAttributes{
		Namespace: a.Namespace, Verb: a.Verb, Group: a.APIGroup, Version: a.APIVersion,
		Resource: a.Resource, Subresource: a.Subresource, Name: a.Name,
		FieldSelector: newSelector(a.FieldSelector, false), LabelSelector: newSelector(a.LabelSelector, true),
	}
	return spec
}
