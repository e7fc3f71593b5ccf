package authn

import (
	"net/http"
	"slices"
	"strings"
)

// Union asks its members in order. The first to recognize the user decides.
// An error is remembered and the next member asked, so that a good token makes
// up for a bad certificate; if nobody recognizes the user, the errors come back
// together (k8s.io/apiserver pkg/authentication/request/union/union.go, New).
// Without members it has no opinion.
func Union(members ...Authenticator) Authenticator {
	return union(slices.Clone(members))
}

type union []Authenticator

func (a union) AuthenticateRequest(r *http.Request) (*UserInfo, bool, error) {
	var errs []error
	for _, member := range a {
		u, ok, err := member.AuthenticateRequest(r)
		if err != nil {
			errs = append(errs, err)
		} else if ok && u != nil {
			return u, true, nil
		}
	}
	return nil, false, JoinErrors(errs...)
}

// OrAnonymous asks a, and takes the request for an [Anonymous] one if a has no
// opinion. An error of a stays one: a refused credential never becomes
// anonymous (union.go, NewFailOnError).
func OrAnonymous(a Authenticator) Authenticator {
	return orAnonymous{a}
}

type orAnonymous struct{ Authenticator }

func (a orAnonymous) AuthenticateRequest(r *http.Request) (*UserInfo, bool, error) {
	u, ok, err := a.Authenticator.AuthenticateRequest(r)
	if err != nil || ok {
		return u, ok, err
	}
	return Anonymous{}.AuthenticateRequest(r)
}

// JoinErrors returns nil for no errors, and otherwise one that prints as
// Kubernetes' aggregate does: the only distinct message as it is, several as
// [a, b] (k8s.io/apimachinery pkg/util/errors/errors.go). Nil errors are left
// out. It unwraps to all of them.
func JoinErrors(errs ...error) error {
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return nil
	}
	return joinedErrors(errs)
}

type joinedErrors []error

func (errs joinedErrors) Unwrap() []error { return errs }

func (errs joinedErrors) Error() string {
	var messages []string
	for _, err := range errs {
		if message := err.Error(); !slices.Contains(messages, message) {
			messages = append(messages, message)
		}
	}
	if len(messages) == 1 {
		return messages[0]
	}
	return "[" + strings.Join(messages, ", ") + "]"
}
