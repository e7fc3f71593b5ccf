package kubeletapi

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

// slot remembers a credential that was good on one connection, with its
// identity, so that the next request with the same one costs no cryptography.
// Connections that a proxy shares carry many tokens: the whole value is compared,
// and what does not match goes the usual way. A comparison that ends early tells
// at most whether a whole block of a token was guessed, which nobody can. The
// slot goes with the connection, and the token in it.
type slot struct {
	owner      atomic.Pointer[identities] // who used it first; for others it is not there
	last       atomic.Pointer[sighting]
	chain      atomic.Pointer[namedChain]
	record     fair.Record      // of credentials that were no good
	connection *fair.Connection // nil if it is not one of Server's
}

// sighting is a credential, of which one of leaf and header is set, and whose it
// is.
type sighting struct {
	leaf   *x509.Certificate
	header string // Authorization, with the token in it
	id     *identity
}

// namedChain is a chain of certificates, by its leaf, with its key, which is the
// owner's.
type namedChain struct {
	leaf *x509.Certificate
	key  ttlcache.Key
}

type slotKey struct{}

// withSlot is the ConnContext of an http.Server.
func withSlot(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, slotKey{}, &slot{connection: fair.Of(conn)})
}

// slotOf returns the slot of a request's connection, or nil if its server gives
// none.
func slotOf(ctx context.Context) *slot {
	s, _ := ctx.Value(slotKey{}).(*slot)
	return s
}

func connectionOf(ctx context.Context) *fair.Connection {
	if s := slotOf(ctx); s != nil {
		return s.connection
	}
	return nil
}

// identity returns that of a credential, if it is the one of this connection: of a
// token, the whole header that it is in.
func (s *slot) identity(seen sighting, h *ttlcache.Horizon) *identity {
	if s == nil {
		return nil
	}
	if last := s.last.Load(); last != nil && last.leaf == seen.leaf && last.header == seen.header && last.id.fresh(h) {
		return last.id
	}
	return nil
}

// remember makes a credential the one of this connection, unless another is
// that already: where many tokens share a connection, they do not push each
// other out. Of a header much longer than a token, nothing is kept.
func (s *slot) remember(seen sighting, now time.Time) {
	if s == nil || seen.id == nil {
		return
	}
	s.connection.Vouch()
	if len(seen.header) > maxSlotBytes {
		return
	}
	last := s.last.Load()
	if last == nil || !last.id.inForce(now) || last.leaf == seen.leaf && last.header == seen.header {
		header := strings.Clone(seen.header) // which may be a part of something longer
		s.last.Store(&sighting{seen.leaf, header, seen.id})
	}
}

// chainKey is that of the connection's chain: one can be a quarter of a megabyte, and
// refused on each request.
func (s *slot) chainKey(keys *ttlcache.Keyer, chain []*x509.Certificate) ttlcache.Key {
	if s == nil {
		return keys.Chain(chain)
	}
	named := s.chain.Load()
	if named == nil || named.leaf != chain[0] {
		named = &namedChain{chain[0], keys.Chain(chain)}
		s.chain.Store(named)
	}
	return named.key
}

const maxSlotBytes = 20 << 10

// slot returns the slot of a request's connection, or nil if there is none or
// another filter uses it: what one API server accepted is nothing to another.
func (c *identities) slot(r *http.Request) *slot {
	s := slotOf(r.Context())
	if s == nil {
		return nil
	}
	if owner := s.owner.Load(); owner != c && (owner != nil || !s.owner.CompareAndSwap(nil, c) && s.owner.Load() != c) {
		return nil
	}
	return s
}

// source tells where a request comes from, for those who share out what is
// scarce.
func (c *identities) source(r *http.Request) fair.Source {
	source := fair.Source{Host: fair.Host(r.RemoteAddr)}
	if s := c.slot(r); s != nil {
		source.Connection = &s.record
	}
	return source
}
