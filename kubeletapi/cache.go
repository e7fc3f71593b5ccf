package kubeletapi

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"
	"weak"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/tlsconfig"
	"kubeletauth/kubeletapi/internal/ttlcache"
	"kubeletauth/kubeletapi/internal/userinfo"
	"kubeletauth/kubeletapi/kubeclient"
)

const (
	// What is remembered is bounded in number; a place costs 9 bytes at most when
	// empty and, with a service account for a user and two decisions, 1 KB when taken.
	maxIdentities = 8192 // certificates and tokens, each
	maxUsers      = 8192
	maxRefused    = 4096
	maxOwn        = 8192    // decisions about attributes outside of the table
	maxOwnBytes   = 1 << 10 // of such attributes; longer ones are not remembered

	refusedTTL    = 10 * time.Second
	reviewTimeout = 10 * time.Second
)

// identity is who a credential turned out to be, and what is known of what that
// user may do. It is immutable but for its term and the decisions.
type identity struct {
	term
	user         *authn.UserInfo
	verification *verification // of the certificate; nil for others
	notAfter     int64         // the credential's own end, in seconds by the node's clock; 0 for none
	decisions    *decisions    // nil where none are kept
}

func (id *identity) fresh(h *ttlcache.Horizon) bool { return id.term.fresh(h) && id.valid(h.Unix) }

func (id *identity) inForce(now time.Time) bool { return id.term.inForce(now) && id.valid(now.Unix()) }

// valid reports whether the credential itself has not ended.
func (id *identity) valid(now int64) bool { return id.notAfter == 0 || now < id.notAfter }

// identities finds the identity of a request in the order of the kubelet:
// certificate, token in the header, token in a WebSocket protocol, anonymous.
// What an authenticator of that chain said is kept for as long as it may be:
// of a certificate until the chain or the roots change, of a token for a TTL
// and never beyond its exp.
type identities struct {
	roots     func(now time.Time) *tlsconfig.Bundle // nil: certificates are off
	tokens    authn.TokenAuthenticator              // nil: tokens are off
	tokenTTL  time.Duration
	staleFor  time.Duration // how long an answer is repeated where asking anew fails
	anonymous *identity     // nil: anonymous requests are off
	userTTL   time.Duration // how long a user is kept; zero where decisions are not
	metrics   *metrics
	logger    *slog.Logger

	anonymousPaths []string // those that anonymous is for; none is all

	keys          *ttlcache.Keyer
	byCertificate *ttlcache.Table[identity]
	byToken       *ttlcache.Table[identity]
	refusedChains *ttlcache.Table[verification] // apart, so that refusals never push out the good
	refusedTokens *ttlcache.Table[error]
	byUser        *ttlcache.Table[decisions]
	reviews       ttlcache.Group[ttlcache.Key, *identity]
	strangers     *fair.Gate // for tokens that were never accepted
	verifications *fair.Gate // of certificates
}

// verification is what became of verifying a certificate chain.
type verification struct {
	roots     weak.Pointer[x509.CertPool] // that it was verified with
	publicKey string                      // of a chain that is good
	err       error                       // why it is not; nil too if it names nobody
}

// credential is what an identity was found by.
type credential uint8

const (
	credentialNone credential = iota
	credentialCertificate
	credentialHeader
	credentialWebSocket
	credentialAnonymous
)

// isAnonymous reports whether id is of those who have shown no credential.
func (c *identities) isAnonymous(id *identity) bool { return c != nil && id == c.anonymous }

// identify returns the identity behind r, or nil without an error if nothing
// has an opinion. As in authn.Union, an error does not stop the search for
// another credential, and stops the request from being anonymous.
func (c *identities) identify(r *http.Request, h *ttlcache.Horizon) (*identity, credential, error) {
	id, certificateErr := c.certificate(r, h)
	if id != nil {
		return id, credentialCertificate, nil
	}
	id, headerErr := c.header(r, h)
	if id != nil {
		return id, credentialHeader, nil
	}
	id, webSocketErr := c.webSocket(r, h)
	if id != nil {
		return id, credentialWebSocket, nil
	}
	if certificateErr != nil || headerErr != nil || webSocketErr != nil {
		return nil, credentialNone, authn.JoinErrors(certificateErr, headerErr, webSocketErr)
	}
	if len(c.anonymousPaths) > 0 && !slices.Contains(c.anonymousPaths, r.URL.Path) {
		return nil, credentialNone, nil
	}
	return c.anonymous, credentialAnonymous, nil
}

func (c *identities) certificate(r *http.Request, h *ttlcache.Horizon) (*identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || c.roots == nil {
		return nil, nil
	}
	roots := c.roots(h.Before)
	leaf, last := r.TLS.PeerCertificates[0], c.slot(r)
	if id := last.identity(sighting{leaf: leaf}, h); id != nil && id.verification.roots == roots.Name {
		return id, nil
	}
	now := time.Now()
	id, err := c.chain(r, last.chainKey(c.keys, r.TLS.PeerCertificates), roots, now)
	last.remember(sighting{leaf: leaf, id: id}, now)
	return id, err
}

// chain returns the identity of a chain that the slot of its connection does not
// know. Of those that were never good, a few are verified at a time: one can be made
// to take a second.
func (c *identities) chain(r *http.Request, key ttlcache.Key, roots *tlsconfig.Bundle, now time.Time) (*identity, error) {
	chain := r.TLS.PeerCertificates
	id, err, known := c.knownChain(key, chain[0], roots, now)
	if known {
		c.metrics.certificatesKnown.Inc()
		return id, err
	}
	c.metrics.certificateLifetime.Observe(chain[0].NotAfter.Sub(now).Seconds())
	gate := c.verifications
	if before, ok := c.byCertificate.Get(key, now); ok && before.inForce(now) { // with other roots
		gate = nil
	}
	busy := gate.Do(r.Context(), fair.Source{Host: fair.Host(r.RemoteAddr)}, func() fair.Outcome { // the connection's record is the other gate's
		id, err = c.verify(key, chain)
		return outcome(id != nil, nil)
	})
	return id, cmp.Or(busy, err)
}

// knownChain compares the public key: whoever could make a chain with the key of
// another would not have its private key.
func (c *identities) knownChain(key ttlcache.Key, leaf *x509.Certificate, roots *tlsconfig.Bundle, now time.Time) (*identity, error, bool) {
	if id, ok := c.byCertificate.Get(key, now); ok && id.verification.publicKey == string(leaf.RawSubjectPublicKeyInfo) && id.verification.roots == roots.Name && id.inForce(now) {
		return id, nil, true
	}
	if refused, ok := c.refusedChains.Get(key, now); ok && refused.roots == roots.Name {
		return nil, refused.err, true
	}
	return nil, nil, false
}

// verify verifies a chain whose turn it is, unless that was done while it waited,
// and with the roots of now.
func (c *identities) verify(key ttlcache.Key, chain []*x509.Certificate) (*identity, error) {
	now := time.Now()
	roots := c.roots(now)
	if id, err, known := c.knownChain(key, chain[0], roots, now); known {
		return id, err
	}
	user, notAfter, err := authn.VerifyCertificate(roots.Roots, chain)
	if err != nil { // without the certificate in it: its size is the client's choice
		err = &authn.InvalidCertificateError{Err: errors.New(clip(err.Error()))}
	}
	if err != nil || user == nil {
		c.refusedChains.Put(&ttlcache.Entry[verification]{Key: key, Value: verification{roots: roots.Name, err: err}}, now, refusedTTL)
		return nil, err
	}
	e := c.newIdentity(key, user, now)
	id, left := &e.Value, notAfter.Sub(now)
	id.verification, id.notAfter = &verification{roots: roots.Name, publicKey: string(chain[0].RawSubjectPublicKeyInfo)}, notAfter.Unix()
	id.beginFixed(now, left)
	c.byCertificate.Put(e, now, left)
	return id, nil
}

func (c *identities) header(r *http.Request, h *ttlcache.Horizon) (*identity, error) {
	values := r.Header["Authorization"]
	if c.tokens == nil || len(values) == 0 {
		return nil, nil
	}
	last := c.slot(r)
	if id := last.identity(sighting{header: values[0]}, h); id != nil {
		c.metrics.tokenHitTime.Observe(0) // to know takes no time
		return id, nil
	}
	token, ok := authn.HeaderToken(r.Header)
	if !ok {
		return nil, nil
	}
	id, err := c.token(r, token, h)
	last.remember(sighting{header: values[0], id: id}, h.Before)
	return id, err
}

func (c *identities) webSocket(r *http.Request, h *ttlcache.Horizon) (*identity, error) {
	if c.tokens == nil {
		return nil, nil
	}
	token, _, err := authn.WebSocketToken(r.Header)
	if token == "" || err != nil {
		return nil, err
	}
	id, err := c.token(r, token, h)
	if s := c.slot(r); s != nil && id != nil {
		s.connection.Vouch()
	}
	return id, err
}

func (c *identities) token(r *http.Request, token string, h *ttlcache.Horizon) (*identity, error) {
	key := c.keys.Token(token)
	if id, ok := c.byToken.Get(key, h.Before); ok && id.fresh(h) {
		c.metrics.tokenHitTime.Observe(0) // to know takes no time
		return id, nil
	}
	start := time.Now()
	id, err, known := c.remembered(key, start)
	if !known {
		id, err = c.await(r, key, token)
		c.metrics.tokenMiss.Inc()
		c.metrics.tokenMissTime.Observe(time.Since(start).Seconds())
		return id, err
	}
	if id != nil && id.renew(start) {
		c.reviews.Start(key, func(ctx context.Context) (*identity, error) { return c.review(ctx, key, token, id) })
	}
	c.metrics.tokenHitTime.Observe(0) // to know takes no time
	return id, err
}

// await asks about a token, or waits for the answer that is on its way. The
// tokens of those who were never accepted wait for their turn.
func (c *identities) await(r *http.Request, key ttlcache.Key, token string) (*identity, error) {
	c.metrics.tokenWaiting.Add(1)
	defer c.metrics.tokenWaiting.Add(-1)
	traceOf(r.Context()).tokenReviewed = true
	source := c.source(r)
	source.Kind = fair.KindOf(token)
	return c.reviews.Do(r.Context(), key, func(ctx context.Context) (id *identity, err error) {
		now := time.Now()
		if id, err, ok := c.remembered(key, now); ok {
			return id, err
		}
		if before, _ := c.byToken.Get(key, now); before != nil && !before.ended() {
			return c.review(ctx, key, token, before)
		}
		busy := c.strangers.Do(ctx, source, func() fair.Outcome {
			id, err = c.review(ctx, key, token, nil)
			return outcome(id != nil, err)
		})
		return id, cmp.Or(busy, err)
	})
}

// outcome is what a review has shown of somebody.
func outcome(good bool, err error) fair.Outcome {
	switch {
	case good:
		return fair.Good
	case err == nil || authn.IsRefusal(err):
		return fair.Bad
	}
	return fair.Unknown
}

func (c *identities) remembered(key ttlcache.Key, now time.Time) (*identity, error, bool) {
	if id, ok := c.byToken.Get(key, now); ok && id.inForce(now) {
		return id, nil, true
	}
	if err, ok := c.refusedTokens.Get(key, now); ok {
		return nil, *err, true
	}
	return nil, nil, false
}

// review asks about a token and remembers the answer; if it is a refusal, it
// takes back what was said before. A failure is no answer.
func (c *identities) review(ctx context.Context, key ttlcache.Key, token string, before *identity) (*identity, error) {
	c.metrics.tokenInFlight.Add(1)
	user, err := authn.TokenUser(ctx, c.tokens, token)
	c.metrics.tokenInFlight.Add(-1)
	now := time.Now()
	if err == nil {
		c.metrics.tokenFetched.Inc()
	} else {
		c.metrics.tokenFetchError.Inc()
	}
	switch {
	case err == nil:
	case authn.IsRefusal(err):
		err = &authn.InvalidTokenError{Reason: clip(err.Error())}
		c.refusedTokens.Put(&ttlcache.Entry[error]{Key: key, Value: err}, now, min(refusedTTL, c.tokenTTL))
		if before != nil {
			before.end()
		}
		return nil, err
	default:
		if e := c.stale(key, before, now, err); e != nil {
			c.byToken.Put(e, now, e.Value.expires.Left(now))
			return &e.Value, nil
		}
		c.logger.Error("Failed to make webhook authenticator request", "err", clip(err.Error()), kubeclient.Advice(err))
		return nil, err
	}
	e := c.newIdentity(key, user, now)
	id := &e.Value
	id.begin(now, max(c.tokenTTL, 0))
	if exp, ok := authn.TokenExpiry(token); ok {
		id.notAfter = max(exp.Unix(), 1)
		if left := exp.Sub(now); left <= c.tokenTTL { // there will be nothing to renew
			id.beginFixed(now, left)
		}
	}
	c.byToken.Put(e, now, id.expires.Left(now))
	return id, nil
}

// stale repeats what was said about a token, if it may.
func (c *identities) stale(key ttlcache.Key, before *identity, now time.Time, err error) *ttlcache.Entry[identity] {
	if before == nil || !before.valid(now.Unix()) {
		return nil
	}
	e := &ttlcache.Entry[identity]{Key: key, Value: identity{user: before.user, notAfter: before.notAfter, decisions: before.decisions}}
	if !e.Value.repeat(&before.term, c.staleFor, now, err) {
		return nil
	}
	c.metrics.stale.With("tokenreviews").Inc()
	c.logger.Warn("The API server cannot review a token; its last answer stays in force", "user", clip(before.user.Username), "err", clip(err.Error()))
	return e
}

// newIdentity gives the user what is known about an equal one.
func (c *identities) newIdentity(key ttlcache.Key, user *authn.UserInfo, now time.Time) *ttlcache.Entry[identity] {
	e := &ttlcache.Entry[identity]{Key: key, Value: identity{user: userinfo.Compact(authn.AuthenticatedUser(user))}}
	if c.userTTL <= 0 {
		return e
	}
	equal := ttlcache.Key(userinfo.Sum(e.Value.user))
	known, ok := c.byUser.Extend(equal, now, c.userTTL)
	if !ok {
		fresh := &ttlcache.Entry[decisions]{Key: equal}
		c.byUser.Put(fresh, now, c.userTTL)
		known = &fresh.Value
	}
	e.Value.decisions = known
	return e
}
