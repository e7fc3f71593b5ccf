package kubeletapi

import (
	"context"
	"crypto/x509"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// slot remembers a credential that was good on one connection, with its
// identity, so that the next request with the same one costs no cryptography.
// Connections that a proxy shares carry many tokens: the whole value is compared,
// and what does not match goes the usual way. A comparison that ends early tells
// at most whether a whole block of a token was guessed, which nobody can. The
// slot goes with the connection, and the token in it.
type slot struct {
	last atomic.Pointer[sighting]
}

// sighting is a credential, of which one of leaf and token is set, and whose it
// is.
type sighting struct {
	leaf  *x509.Certificate
	token string
	id    *identity
}

type slotKey struct{}

// withSlot is the ConnContext of an http.Server.
func withSlot(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, slotKey{}, new(slot))
}

// slotOf returns the slot of a request's connection, or nil if its server gives
// none.
func slotOf(ctx context.Context) *slot {
	s, _ := ctx.Value(slotKey{}).(*slot)
	return s
}

// certificate returns the identity of the connection's own certificate.
func (s *slot) certificate(leaf *x509.Certificate, roots *x509.CertPool, now time.Time) *identity {
	if s == nil {
		return nil
	}
	if last := s.last.Load(); last != nil && last.leaf == leaf && last.id.roots == roots && last.id.inForce(now) {
		return last.id
	}
	return nil
}

// forToken returns the identity of a token.
func (s *slot) forToken(token string, now time.Time) *identity {
	if s == nil {
		return nil
	}
	if last := s.last.Load(); last != nil && last.leaf == nil && last.token == token && last.id.inForce(now) {
		return last.id
	}
	return nil
}

// remember makes a credential the one of this connection, unless another is
// that already: where many tokens share a connection, they do not push each
// other out. The token is copied: as it comes, it may be a part of a much longer
// header.
func (s *slot) remember(leaf *x509.Certificate, token string, id *identity, now time.Time) {
	if s == nil || id == nil {
		return
	}
	last := s.last.Load()
	if last == nil || !last.id.inForce(now) || leaf != nil && last.leaf == leaf {
		s.last.Store(&sighting{leaf, strings.Clone(token), id})
	}
}
