package authn

import (
	"net/http"
	"slices"
)

// AddAuthenticatedGroup puts everyone whom a recognizes into
// system:authenticated, by the rule of [AuthenticatedUser].
func AddAuthenticatedGroup(a Authenticator) Authenticator {
	return authenticatedGroup{a}
}

type authenticatedGroup struct{ Authenticator }

func (a authenticatedGroup) AuthenticateRequest(r *http.Request) (*UserInfo, bool, error) {
	u, ok, err := a.Authenticator.AuthenticateRequest(r)
	if err != nil || !ok || u == nil {
		return nil, false, err
	}
	return AuthenticatedUser(u), true, nil
}

// AuthenticatedUser returns a copy of u with system:authenticated as the last
// group, or u itself if it is system:anonymous or already in
// system:authenticated or system:unauthenticated (k8s.io/apiserver
// pkg/authentication/group/authenticated_group_adder.go).
func AuthenticatedUser(u *UserInfo) *UserInfo {
	if u.Username == UserAnonymous || slices.Contains(u.Groups, GroupAuthenticated) || slices.Contains(u.Groups, GroupUnauthenticated) {
		return u
	}
	with := *u
	with.Groups = append(slices.Clip(slices.Clone(u.Groups)), GroupAuthenticated)
	return &with
}
