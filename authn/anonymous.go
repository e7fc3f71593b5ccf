package authn

import "net/http"

// Anonymous takes every request for one of system:anonymous, in the group
// system:unauthenticated and no other (k8s.io/apiserver
// pkg/authentication/request/anonymous/anonymous.go). It never looks at r:
// put it behind everything else, with [OrAnonymous].
type Anonymous struct{}

// AuthenticateRequest always succeeds.
func (Anonymous) AuthenticateRequest(*http.Request) (*UserInfo, bool, error) {
	return &UserInfo{Username: UserAnonymous, Groups: []string{GroupUnauthenticated}}, true, nil
}
