package ttlcache

import (
	"sync/atomic"
	"time"
)

// Ahead is how far a horizon is from now at the most.
const Ahead = time.Second

const tick = Ahead / 10

// Horizon is a moment from now on, up to [Ahead] from it: what lasts until then
// lasts now.
type Horizon struct {
	Instant Instant
	Unix    int64     // in seconds
	Before  time.Time // Ahead earlier, which is now or has just been
}

// Clock spares those who only want to know that a moment is not near the time
// that reading a clock takes, which is as long as all the rest of a decision. A
// timer keeps it up to date while it is asked, and ends when it is not. It is
// wrong only if that timer is late by most of a second. It is safe for concurrent
// use, and its zero value is ready.
type Clock struct {
	moment atomic.Pointer[Horizon]
	asked  atomic.Bool // since the last tick
}

// Horizon returns the horizon of now. It must not be changed.
func (c *Clock) Horizon() *Horizon {
	h := c.moment.Load()
	if h == nil {
		return c.start()
	}
	if !c.asked.Load() {
		c.asked.Store(true)
	}
	return h
}

// HorizonAt is Horizon for whoever knows the time: what it returns is right however
// late timers are, as they are when a process that was stopped goes on.
func (c *Clock) HorizonAt(now time.Time) *Horizon {
	if h := c.Horizon(); h.Instant.Left(now) > 0 {
		return h
	}
	return ahead()
}

func (c *Clock) start() *Horizon {
	h := ahead()
	if c.moment.CompareAndSwap(nil, h) {
		time.AfterFunc(tick, c.tick)
	}
	return h
}

func (c *Clock) tick() {
	if !c.asked.Swap(false) {
		c.moment.Store(nil)
		return
	}
	c.moment.Store(ahead())
	time.AfterFunc(tick, c.tick)
}

func ahead() *Horizon {
	now := time.Now()
	return &Horizon{After(now, Ahead), now.Add(Ahead).Unix(), now}
}
