package apiservertest

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"kubeletauth/authn"
)

// callers are the credentials that the server accepts from its own clients.
type callers struct {
	generated string // never changes
	tokens    atomic.Pointer[[]string]
	roots     atomic.Pointer[x509.CertPool]
}

// ClientToken returns the token made for the server's client when the server
// was made. It is accepted until [Server.SetClientTokens] leaves it out.
func (s *Server) ClientToken() string { return s.callers.generated }

// SetClientTokens replaces the tokens that the server accepts from its client;
// without any, it accepts none. Requests from then on are judged by it, so that
// a client's credential can expire and be renewed.
func (s *Server) SetClientTokens(tokens ...string) {
	tokens = slices.Clone(tokens)
	s.callers.tokens.Store(&tokens)
}

// SetClientCA makes the server accept client certificates that chain to roots,
// beside its tokens; nil, as at the start, accepts none. The pool must not be
// changed afterwards.
func (s *Server) SetClientCA(roots *x509.CertPool) { s.callers.roots.Store(roots) }

// known reports whether r carries a good credential.
func (c *callers) known(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && slices.Contains(*c.tokens.Load(), token) || c.certified(r)
}

func (c *callers) certified(r *http.Request) bool {
	roots := c.roots.Load()
	if roots == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	u, _, err := authn.VerifyCertificate(roots, r.TLS.PeerCertificates)
	return err == nil && u != nil
}
