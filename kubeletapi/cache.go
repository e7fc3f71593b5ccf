package kubeletapi

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"hash"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

const (
	// What is remembered is bounded in number; a place costs 8 bytes when empty
	// and, with an ordinary user and a few decisions, under 1 KiB when taken.
	maxIdentities = 8192 // certificates and tokens, each
	maxUsers      = 8192
	maxRefused    = 4096

	refusedTTL    = 10 * time.Second
	reviewTimeout = 10 * time.Second
)

// identity is who a credential turned out to be, and what is known of what that
// user may do. It is immutable but for the decisions.
type identity struct {
	user      *authn.UserInfo
	roots     *x509.CertPool // that the certificate was verified with; nil for others
	expires   time.Time      // when the credential is to be looked at again
	notAfter  time.Time      // the credential's own end, by the node's clock; zero for none
	decisions *decisions     // nil where none are kept
}

// inForce reports whether the credential need not be looked at again.
func (id *identity) inForce(now time.Time) bool {
	return now.Before(id.expires) && (id.notAfter.IsZero() || now.Before(id.notAfter))
}

// decisions are those about one user, by verb and subresource. Users who are
// equal in all fields share them, whatever their credentials, as they share
// the cache entries of the kubelet's webhook.
type decisions [verbCount][subresourceCount]remembered

type remembered struct{ atomic.Pointer[decision] }

// inForce returns the decision if there is one that has not expired.
func (m *remembered) inForce() *decision {
	if d := m.Load(); d != nil && !time.Now().After(d.expires) {
		return d
	}
	return nil
}

// decision is one answer, in force until expires.
type decision struct {
	authz.Decision
	reason  string
	expires time.Time
}

// identities finds the identity of a request in the order of the kubelet:
// certificate, token in the header, token in a WebSocket protocol, anonymous.
// What an authenticator of that chain said is kept for as long as it may be:
// of a certificate until the chain or the roots change, of a token for a TTL
// and never beyond its exp.
type identities struct {
	roots     func() *x509.CertPool    // nil: certificates are off
	tokens    authn.TokenAuthenticator // nil: tokens are off
	tokenTTL  time.Duration
	anonymous *identity     // nil: anonymous requests are off
	userTTL   time.Duration // how long a user is kept; zero where decisions are not
	metrics   *metrics
	logger    *slog.Logger

	byCertificate *ttlcache.Table[*identity]
	byToken       *ttlcache.Table[*identity]
	refusedChains *ttlcache.Table[refusal] // apart, so that refusals never push out the good
	refusedTokens *ttlcache.Table[error]
	byUser        *ttlcache.Table[*decisions]
	reviews       ttlcache.Group[ttlcache.Key, *identity]
}

// refusal is why a certificate chain is no good: nil if it names nobody.
type refusal struct {
	err   error
	roots *x509.CertPool // that it was verified with
}

// credential is what an identity was found by.
type credential uint8

const (
	credentialNone credential = iota
	credentialCertificate
	credentialHeader
	credentialWebSocket
)

// identify returns the identity behind r, or nil without an error if nothing
// has an opinion. As in authn.Union, an error does not stop the search for
// another credential, and stops the request from being anonymous.
func (c *identities) identify(r *http.Request) (*identity, credential, error) {
	id, certificateErr := c.certificate(r)
	if id != nil {
		return id, credentialCertificate, nil
	}
	id, headerErr := c.header(r)
	if id != nil {
		return id, credentialHeader, nil
	}
	id, webSocketErr := c.webSocket(r)
	if id != nil {
		return id, credentialWebSocket, nil
	}
	if certificateErr != nil || headerErr != nil || webSocketErr != nil {
		return nil, credentialNone, authn.JoinErrors(certificateErr, headerErr, webSocketErr)
	}
	return c.anonymous, credentialNone, nil
}

func (c *identities) certificate(r *http.Request) (*identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || c.roots == nil {
		return nil, nil
	}
	roots := c.roots()
	if roots == nil {
		return nil, nil
	}
	now, leaf, last := time.Now(), r.TLS.PeerCertificates[0], slotOf(r.Context())
	if id := last.certificate(leaf, roots, now); id != nil {
		return id, nil
	}
	id, err := c.chain(r.TLS.PeerCertificates, roots, now)
	last.remember(leaf, "", id, now)
	return id, err
}

// chain returns the identity of a chain that the slot of its connection does not
// know.
func (c *identities) chain(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (*identity, error) {
	key := chainKey(chain)
	if id, ok := c.byCertificate.Get(key, now); ok && id.roots == roots && id.inForce(now) {
		return id, nil
	}
	if refused, ok := c.refusedChains.Get(key, now); ok && refused.roots == roots {
		return nil, refused.err
	}
	c.metrics.certificate(chain[0], now)
	user, notAfter, err := authn.VerifyCertificate(roots, chain)
	if err != nil { // without the certificate in it: its size is the client's choice
		err = &authn.InvalidCertificateError{Err: errors.New(clip(err.Error()))}
	}
	if err != nil || user == nil {
		c.refusedChains.Put(key, refusal{err, roots}, now, now.Add(refusedTTL))
		return nil, err
	}
	id := c.newIdentity(user, now)
	id.roots, id.expires, id.notAfter = roots, notAfter, notAfter
	c.byCertificate.Put(key, id, now, notAfter)
	return id, nil
}

// chainKey names a chain by all its certificates: intermediates decide whether
// a leaf is accepted.
func chainKey(chain []*x509.Certificate) ttlcache.Key {
	key := sha256.Sum256(chain[0].Raw)
	for _, c := range chain[1:] {
		next := sha256.Sum256(c.Raw)
		var both [2 * sha256.Size]byte
		copy(both[:], key[:])
		copy(both[sha256.Size:], next[:])
		key = sha256.Sum256(both[:])
	}
	return key
}

func (c *identities) header(r *http.Request) (*identity, error) {
	if c.tokens == nil {
		return nil, nil
	}
	token, ok := authn.HeaderToken(r.Header)
	if !ok {
		return nil, nil
	}
	return c.token(r.Context(), token)
}

func (c *identities) webSocket(r *http.Request) (*identity, error) {
	if c.tokens == nil {
		return nil, nil
	}
	token, _, err := authn.WebSocketToken(r.Header)
	if token == "" || err != nil {
		return nil, err
	}
	return c.token(r.Context(), token)
}

func (c *identities) token(ctx context.Context, token string) (*identity, error) {
	start, last := time.Now(), slotOf(ctx)
	if id := last.forToken(token, start); id != nil {
		c.metrics.tokenRequest(true, 0)
		return id, nil
	}
	key := tokenKey(token)
	id, err, hit := c.remembered(key, start)
	if !hit {
		id, err = c.await(ctx, key, token)
	}
	c.metrics.tokenRequest(hit, time.Since(start))
	last.remember(nil, token, id, start)
	return id, err
}

// await asks about a token, or waits for the answer that is on its way.
func (c *identities) await(ctx context.Context, key ttlcache.Key, token string) (*identity, error) {
	defer c.metrics.tokenBlocked()()
	return c.reviews.Do(ctx, key, func(ctx context.Context) (*identity, error) {
		if id, err, ok := c.remembered(key, time.Now()); ok {
			return id, err
		}
		return c.review(ctx, key, token)
	})
}

// tokenKey allocates nothing for a token of an ordinary length.
func tokenKey(token string) ttlcache.Key {
	var ordinary [2 << 10]byte
	return sha256.Sum256(append(ordinary[:0], token...))
}

func (c *identities) remembered(key ttlcache.Key, now time.Time) (*identity, error, bool) {
	if id, ok := c.byToken.Get(key, now); ok && id.inForce(now) {
		return id, nil, true
	}
	err, ok := c.refusedTokens.Get(key, now)
	return nil, err, ok
}

// review asks about a token and remembers the answer. A failure is no answer.
func (c *identities) review(ctx context.Context, key ttlcache.Key, token string) (*identity, error) {
	done := c.metrics.tokenFetch()
	user, err := authn.TokenUser(ctx, c.tokens, token)
	done(err)
	now := time.Now()
	switch {
	case err == nil:
	case authn.IsRefusal(err):
		err = &authn.InvalidTokenError{Reason: clip(err.Error())}
		c.refusedTokens.Put(key, err, now, now.Add(min(refusedTTL, c.tokenTTL)))
		return nil, err
	default:
		c.logger.Error("Failed to make webhook authenticator request", "err", clip(err.Error()))
		return nil, err
	}
	id := c.newIdentity(user, now)
	id.expires = now.Add(c.tokenTTL)
	if exp, ok := authn.TokenExpiry(token); ok {
		id.notAfter = exp
		if exp.Before(id.expires) {
			id.expires = now.Add(exp.Sub(now))
		}
	}
	c.byToken.Put(key, id, now, id.expires)
	return id, nil
}

// newIdentity gives the user what is known about an equal one.
func (c *identities) newIdentity(user *authn.UserInfo, now time.Time) *identity {
	id := &identity{user: authn.AuthenticatedUser(user)}
	if c.userTTL <= 0 {
		return id
	}
	key := userKey(id.user)
	known, ok := c.byUser.Get(key, now)
	if !ok {
		known = new(decisions)
	}
	c.byUser.Put(key, known, now, now.Add(c.userTTL))
	id.decisions = known
	return id
}

// userKey covers every field, each with its length, so that no two different
// users share a key.
func userKey(u *authn.UserInfo) (key ttlcache.Key) {
	h := sha256.New()
	writeStrings(h, u.Username, u.UID)
	writeStrings(h, u.Groups...)
	for _, k := range slices.Sorted(maps.Keys(u.Extra)) {
		writeStrings(h, k)
		writeStrings(h, u.Extra[k]...)
	}
	return ttlcache.Key(h.Sum(key[:0]))
}

func writeStrings(h hash.Hash, list ...string) {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(list)))
	for _, s := range list {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	h.Write(b)
}

// memory keeps what an Authorizer said, and asks it each question once.
type memory struct {
	authorizedTTL, unauthorizedTTL time.Duration // zero and less: not kept
	logger                         *slog.Logger
	reviews                        ttlcache.Group[asked, decision]
}

// asked names a review under way.
type asked struct {
	about *decisions
	verb
	subresource
}

// review asks and keeps the answer. An error is no answer.
func (m *memory) review(ctx context.Context, q asked, ask func(context.Context) (decision, error)) (decision, error) {
	place := &q.about[q.verb][q.subresource]
	return m.reviews.Do(ctx, q, func(ctx context.Context) (decision, error) {
		if d := place.inForce(); d != nil {
			return *d, nil
		}
		d, err := ask(ctx)
		if err != nil {
			m.logger.Error("Failed to make webhook authorizer request", "err", clip(err.Error()))
			return decision{}, err
		}
		ttl := m.unauthorizedTTL
		if d.Decision == authz.DecisionAllow {
			ttl = m.authorizedTTL
		}
		if ttl > 0 {
			d.expires = time.Now().Add(ttl)
			place.Store(&d)
		}
		return d, nil
	})
}
