// Package authn answers who is asking, exactly as the Kubernetes kubelet does.
//
// An [Authenticator] looks at one kind of credential in a request and gives
// one of three answers:
//
//	u, true, nil      the request comes from u
//	nil, false, nil   no opinion: there is no credential of this kind
//	nil, false, err   there is such a credential, and it is refused
//
// The difference between the last two is the heart of this package. A request
// without any credential may be anonymous; a request with a refused one never
// becomes anonymous. Keep the three answers apart, and never turn "no opinion"
// into an error or an error into "no opinion".
//
// The kubelet's chain asks for a client certificate first, then for a bearer
// token in the Authorization header, then for one in a WebSocket subprotocol,
// and lets the request be anonymous last:
//
//	chain := authn.OrAnonymous(authn.AddAuthenticatedGroup(authn.Union(
//		authn.X509{Roots: roots},
//		authn.BearerToken{Tokens: tokens},
//		authn.WebSocketProtocol{Tokens: tokens},
//	)))
//
// Everything here is a pure question: no sockets, no goroutines, no caches, no
// logging. Caches, and the order of checks behind an HTTP handler, are in
// package kubeletapi. All types are safe for concurrent use, as long as the
// values they are built from are. The zero value of every authenticator except
// [Anonymous] recognizes nobody. What is built of other Authenticators, as
// [Union] is, calls them: none may be nil.
package authn

import (
	"context"
	"net/http"
)

// An Authenticator tells who sent a request; the package comment explains its
// three answers. It must be safe for concurrent use. It may remove the
// credential it accepted from r.Header, so that a handler never sees it, and
// otherwise leaves r alone.
type Authenticator interface {
	AuthenticateRequest(r *http.Request) (u *UserInfo, ok bool, err error)
}

// A TokenAuthenticator tells whose bearer token this is, with the three
// answers of the package comment. It must be safe for concurrent use and end
// when ctx does. Its errors must never contain the token.
type TokenAuthenticator interface {
	AuthenticateToken(ctx context.Context, token string) (u *UserInfo, ok bool, err error)
}
