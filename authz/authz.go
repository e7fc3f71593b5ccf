// Package authz answers whether a user may do something, exactly as the
// Kubernetes kubelet does.
//
// [Attributes] say what is asked; an [Authorizer] answers with a [Decision], a
// reason and possibly an error. Whoever enforces the answer lets the request
// pass on [DecisionAllow] without an error, and on nothing else.
//
// Everything here is a pure question: no sockets, no goroutines, no caches, no
// logging. All types are safe for concurrent use. The zero [Webhook] allows
// nothing.
package authz

import (
	"context"

	"kubeletauth/authn"
)

// Attributes are what a user wants to do, in Kubernetes' terms. With a
// Resource they are a resource request; without one, a request for the
// non-resource URL in Path.
type Attributes struct {
	User        *authn.UserInfo
	Verb        string // empty is legal, and is allowed only by a rule for every verb
	Namespace   string
	APIGroup    string
	APIVersion  string
	Resource    string
	Subresource string
	Name        string
	Path        string

	// FieldSelector and LabelSelector narrow a list, watch or
	// deletecollection. The kubelet sets neither.
	FieldSelector []Requirement
	LabelSelector []Requirement
}

// Decision is the answer of an [Authorizer].
type Decision int

const (
	DecisionDeny      Decision = iota // refused; the zero value
	DecisionAllow                     // allowed
	DecisionNoOpinion                 // neither: refused too, unless somebody else allows
)

// String returns deny, allow or no opinion.
func (d Decision) String() string {
	switch d {
	case DecisionAllow:
		return "allow"
	case DecisionNoOpinion:
		return "no opinion"
	}
	return "deny"
}

// An Authorizer decides on attributes. It must be safe for concurrent use and
// end when ctx does. The reason is for logs, not for the caller who is refused.
// With an error, there is no usable answer, whatever the decision says.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (d Decision, reason string, err error)
}
