package kubeletapi

import (
	"time"

	"kubeletauth/kubeletapi/internal/ttlcache"
)

// staleTerm is for how long at a time an answer is used beyond its TTL. The API
// server is asked again each renewalPause meanwhile.
const staleTerm = reviewTimeout + 2*renewalPause

// beginStale starts the term of an answer that repeats one whose own has ended,
// or is about to, and that may be repeated until a moment.
func (t *term) beginStale(now time.Time, until ttlcache.Instant) {
	t.expires = min(ttlcache.After(now, staleTerm), until)
	t.early.Store(int64(staleTerm - renewalPause))
}

// mayGoStale reports whether the answer is to be repeated, as asking anew failed
// with err.
func (t *term) mayGoStale(now time.Time, until ttlcache.Instant, err error) bool {
	return !t.ended() && until.Left(now) > 0 && t.expires.Left(now) < staleTerm && unavailable(err)
}

// stale repeats what was said about a token, if it may.
func (c *identities) stale(key ttlcache.Key, before *identity, now time.Time, err error) *ttlcache.Entry[identity] {
	if c.staleFor <= 0 || before == nil {
		return nil
	}
	origin := before
	if before.origin != nil {
		origin = before.origin
	}
	until := ttlcache.After(now, origin.expires.Left(now)+c.staleFor)
	if before.notAfter != 0 {
		until = min(until, ttlcache.After(now, time.Unix(before.notAfter, 0).Sub(now)))
	}
	if !before.mayGoStale(now, until, err) {
		return nil
	}
	e := &ttlcache.Entry[identity]{Key: key, Value: identity{user: before.user, notAfter: before.notAfter, decisions: before.decisions, origin: origin}}
	e.Value.beginStale(now, until)
	c.metrics.useStale("tokenreviews")
	c.logger.Warn("The API server cannot review a token; its last answer stays in force", "user", clip(before.user.Username), "err", clip(err.Error()))
	return e
}

// stale repeats a decision, if it may.
func (m *memory) stale(q *asked, now time.Time, err error) *decision {
	before := m.known(q, now)
	if m.staleFor <= 0 || before == nil {
		return nil
	}
	origin := before
	if before.origin != nil {
		origin = before.origin
	}
	until := ttlcache.After(now, origin.expires.Left(now)+m.staleFor)
	if !before.mayGoStale(now, until, err) {
		return nil
	}
	d := &decision{allowed: before.allowed, text: before.text, place: before.place, origin: origin}
	d.beginStale(now, until)
	m.metrics.useStale("subjectaccessreviews")
	m.logger.Warn("The API server cannot review an access; its last answer stays in force", "err", clip(err.Error()))
	return d
}
