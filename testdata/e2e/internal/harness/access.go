package harness

import (
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// asSubject is the part of a review that says who asks.
func asSubject(subject rbacv1.Subject) authorizationv1.SubjectAccessReviewSpec {
	switch subject.Kind {
	case rbacv1.GroupKind:
		return authorizationv1.SubjectAccessReviewSpec{Groups: []string{subject.Name}}
	case rbacv1.ServiceAccountKind:
		return authorizationv1.SubjectAccessReviewSpec{User: ServiceAccount{Name: subject.Name}.Username()}
	}
	return authorizationv1.SubjectAccessReviewSpec{User: subject.Name}
}

// resourceAccess is the part of a review that says what for; a resource of a role may hold a sub-resource.
func resourceAccess(verb, group, resource, name string) *authorizationv1.ResourceAttributes {
	resource, subresource, _ := strings.Cut(resource, "/")
	return &authorizationv1.ResourceAttributes{
		Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: name,
	}
}

// orAny returns one empty name for no names: any object.
func orAny(names []string) []string {
	if len(names) == 0 {
		return []string{""}
	}
	return names
}
