package kubeletapi

import (
	"sync/atomic"
	"time"
)

const (
	horizonAhead = time.Second
	horizonTick  = horizonAhead / 10
)

// clock spares those who only want to know that a moment is not near the time
// that reading a clock takes, which is as long as all the rest of a decision. A
// timer keeps it up to date while it is asked, and ends when it is not. It is
// wrong only if that timer is late by most of a second.
type clock struct {
	moment atomic.Pointer[time.Time]
	asked  atomic.Bool // since the last tick
}

// horizon returns a moment up to a second from now: what lasts until then lasts
// now.
func (c *clock) horizon() time.Time {
	h := c.moment.Load()
	if h == nil {
		return c.start()
	}
	if !c.asked.Load() {
		c.asked.Store(true)
	}
	return *h
}

func (c *clock) start() time.Time {
	h := time.Now().Add(horizonAhead)
	if c.moment.CompareAndSwap(nil, &h) {
		time.AfterFunc(horizonTick, c.tick)
	}
	return h
}

func (c *clock) tick() {
	if !c.asked.Swap(false) {
		c.moment.Store(nil)
		return
	}
	h := time.Now().Add(horizonAhead)
	c.moment.Store(&h)
	time.AfterFunc(horizonTick, c.tick)
}
