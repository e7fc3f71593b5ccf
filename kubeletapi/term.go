package kubeletapi

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// renewalPause is the least time between two attempts to renew an answer.
const renewalPause = 3 * time.Second

// term is how long an answer may be used. Whoever uses it in the last tenth or
// two of that time has it renewed, and does not wait for that: so a busy caller
// never waits, and those who came together do not come back together.
type term struct {
	expires time.Time
	due     atomic.Pointer[time.Time] // never after expires; nil once the answer was taken back
}

func (t *term) begin(now time.Time, ttl time.Duration) {
	t.expires = now.Add(ttl)
	due := t.expires.Add(-ttl/10 - rand.N(ttl/10+1))
	t.due.Store(&due)
}

// beginFixed is begin for what cannot be renewed.
func (t *term) beginFixed(expires time.Time) {
	t.expires = expires
	t.due.Store(&expires)
}

// end takes the answer back.
func (t *term) end() { t.due.Store(nil) }

// fresh reports whether the answer may be used until h without another look.
func (t *term) fresh(h time.Time) bool {
	due := t.due.Load()
	return due != nil && h.Before(*due)
}

// inForce reports whether the answer may be used at now.
func (t *term) inForce(now time.Time) bool { return t.due.Load() != nil && now.Before(t.expires) }

// renew reports whether the caller is the one who is to renew the answer.
func (t *term) renew(now time.Time) bool {
	due := t.due.Load()
	if due == nil || now.Before(*due) {
		return false
	}
	next := now.Add(renewalPause)
	if next.After(t.expires) {
		next = t.expires
	}
	return t.due.CompareAndSwap(due, &next)
}
