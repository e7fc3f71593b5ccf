package reload

import (
	"sync"
	"sync/atomic"
	"time"
)

// interval leaves the other half of a second to callers whose clock is behind,
// and to reading: what a file took back is refused within a second.
const interval = time.Second / 2

// Turn lets one caller at a time look at files, twice a second. It is made by
// [NewTurn] and safe for concurrent use.
type Turn struct {
	start   time.Time
	next    atomic.Int64 // when to look again, in nanoseconds since start
	looking sync.Mutex   // held during a look
}

// NewTurn returns the Turn of files that were looked at just now.
func NewTurn() *Turn {
	t := &Turn{start: time.Now()}
	t.next.Store(int64(interval))
	return t
}

// Take calls look if that is due and nobody else is at it.
func (t *Turn) Take(now time.Time, look func()) {
	if passed := now.Sub(t.start); int64(passed) >= t.next.Load() && t.looking.TryLock() {
		t.run(passed, look)
	}
}

// Wait calls look as soon as nobody else is at it.
func (t *Turn) Wait(look func()) {
	t.looking.Lock()
	t.run(time.Since(t.start), look)
}

func (t *Turn) run(passed time.Duration, look func()) {
	defer t.looking.Unlock()
	defer t.next.Store(int64(passed + interval))
	look()
}
