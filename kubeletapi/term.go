package kubeletapi

import (
	"cmp"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"kubeletauth/kubeletapi/internal/ttlcache"
	"kubeletauth/kubeletapi/kubeclient"
)

// renewalPause is the least time between two attempts to renew an answer.
const renewalPause = 3 * time.Second

// staleTerm is for how long at a time an answer is used beyond its TTL. The API
// server is asked again each renewalPause meanwhile.
const staleTerm = reviewTimeout + 2*renewalPause

// term is how long an answer may be used. Whoever uses it in the last tenth or
// two of that time has it renewed, and does not wait for that: so a busy caller
// never waits, and those who came together do not come back together.
type term struct {
	expires ttlcache.Instant
	early   atomic.Int64     // how long before expires it is to be renewed; takenBack for an answer that was
	until   ttlcache.Instant // when the last of those ends that repeat an answer beyond its TTL; 0 for an answer
}

const takenBack = -1

func (t *term) begin(now time.Time, ttl time.Duration) {
	t.beginFixed(now, ttl)
	t.early.Store(int64(ttl/10 + rand.N(ttl/10+1)))
}

// beginFixed is begin for what cannot be renewed.
func (t *term) beginFixed(now time.Time, ttl time.Duration) {
	t.expires = ttlcache.After(now, ttl)
	t.early.Store(0)
}

// repeat starts the term of an answer that is before's once more, as asking anew
// failed with err. It reports whether that may be: for some time beyond before's
// TTL, and only while the API server is in trouble.
func (t *term) repeat(before *term, staleFor time.Duration, now time.Time, err error) bool {
	t.until = cmp.Or(before.until, ttlcache.After(now, before.expires.Left(now)+staleFor))
	t.expires = min(ttlcache.After(now, staleTerm), t.until)
	t.early.Store(int64(staleTerm - renewalPause))
	return staleFor > 0 && !before.ended() && t.until.Left(now) > 0 && before.expires.Left(now) < staleTerm && kubeclient.IsUnavailable(err)
}

// end takes the answer back.
func (t *term) end() { t.early.Store(takenBack) }

// ended reports whether the answer was taken back.
func (t *term) ended() bool { return t.early.Load() == takenBack }

// fresh reports whether the answer may be used until h without another look.
func (t *term) fresh(h *ttlcache.Horizon) bool {
	early := t.early.Load()
	return early != takenBack && int64(t.expires-h.Instant) > early
}

// inForce reports whether the answer may be used at now.
func (t *term) inForce(now time.Time) bool { return !t.ended() && t.expires.Left(now) > 0 }

// renew reports whether the caller is the one who is to renew the answer.
func (t *term) renew(now time.Time) bool {
	early := t.early.Load()
	left := t.expires.Left(now)
	if early == takenBack || left > time.Duration(early) {
		return false
	}
	return t.early.CompareAndSwap(early, int64(max(left-renewalPause, 0)))
}
