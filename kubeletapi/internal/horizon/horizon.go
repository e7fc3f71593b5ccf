// Package horizon has a clock for those who ask it all the time.
package horizon

import (
	"sync/atomic"
	"time"
)

// Ahead is how far a horizon is from now at the most.
const Ahead = time.Second

const tick = Ahead / 10

// Clock spares those who only want to know that a moment is not near the time
// that reading a clock takes, which is as long as all the rest of a decision. A
// timer keeps it up to date while it is asked, and ends when it is not. It is
// wrong only if that timer is late by most of a second. It is safe for concurrent
// use, and its zero value is ready.
type Clock struct {
	moment atomic.Pointer[time.Time]
	asked  atomic.Bool // since the last tick
}

// Horizon returns a moment from now on, up to [Ahead] from it: what lasts until then
// lasts now.
func (c *Clock) Horizon() time.Time {
	h := c.moment.Load()
	if h == nil {
		return c.start()
	}
	if !c.asked.Load() {
		c.asked.Store(true)
	}
	return *h
}

func (c *Clock) start() time.Time {
	h := time.Now().Add(Ahead)
	if c.moment.CompareAndSwap(nil, &h) {
		time.AfterFunc(tick, c.tick)
	}
	return h
}

func (c *Clock) tick() {
	if !c.asked.Swap(false) {
		c.moment.Store(nil)
		return
	}
	h := time.Now().Add(Ahead)
	c.moment.Store(&h)
	time.AfterFunc(tick, c.tick)
}
