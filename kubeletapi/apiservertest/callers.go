package apiservertest

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"sync"

	"kubeletauth/authn"
)

// callers are the credentials that the server accepts from its own clients.
type callers struct {
	generated string // never changes

	mu     sync.RWMutex // guards what follows
	tokens []string
	roots  *x509.CertPool
}

// ClientToken returns the token made for the server's client when the server
// was made. It is accepted until [Server.SetClientTokens] leaves it out.
func (s *Server) ClientToken() string { return s.callers.generated }

// SetClientTokens replaces the tokens that the server accepts from its client;
// without any, it accepts none. Requests from then on are judged by it, so that
// a client's credential can expire and be renewed.
func (s *Server) SetClientTokens(tokens ...string) {
	s.callers.mu.Lock()
	defer s.callers.mu.Unlock()
	s.callers.tokens = slices.Clone(tokens)
}

// SetClientCA makes the server accept client certificates that chain to roots,
// beside its tokens; nil, as at the start, accepts none. The pool must not be
// changed afterwards.
func (s *Server) SetClientCA(roots *x509.CertPool) {
	s.callers.mu.Lock()
	defer s.callers.mu.Unlock()
	s.callers.roots = roots
}

// known reports whether r carries a good credential.
func (c *callers) known(r *http.Request) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && slices.Contains(c.tokens, token) || c.certified(r)
}

func (c *callers) certified(r *http.Request) bool {
	if c.roots == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	u, _, err := authn.VerifyCertificate(c.roots, r.TLS.PeerCertificates)
	return err == nil && u != nil
}
