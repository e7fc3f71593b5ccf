package authn

import "context"

// Names that Kubernetes gives a meaning to (k8s.io/apiserver
// pkg/authentication/user/user.go).
const (
	UserAnonymous        = "system:anonymous"       // whoever sent no credential
	GroupAuthenticated   = "system:authenticated"   // everyone whose credential was accepted
	GroupUnauthenticated = "system:unauthenticated" // everyone else

	// ExtraCredentialID is the key in [UserInfo.Extra] that names the
	// credential a user came with, such as X509SHA256=<hex of the leaf>.
	ExtraCredentialID = "authentication.kubernetes.io/credential-id"
)

// UserInfo is an authenticated user, in the JSON form of authentication.k8s.io.
// It is shared between requests: treat it, its slices and its map as read-only.
// The zero value is nobody and must not be authorized.
type UserInfo struct {
	Username string              `json:"username,omitempty"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

type userKey struct{}

// WithUser returns a context that carries u to the handlers behind a filter.
func WithUser(ctx context.Context, u *UserInfo) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// UserFrom returns the user that [WithUser] put into ctx, and whether there is
// one.
func UserFrom(ctx context.Context) (*UserInfo, bool) {
	u, ok := ctx.Value(userKey{}).(*UserInfo)
	return u, ok && u != nil
}
