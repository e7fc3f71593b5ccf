package ttlcache

import (
	"math"
	"time"
)

// Instant is a moment of the monotonic clock, in a third of the room of a
// time.Time.
type Instant int64

// epoch is where instants are counted from: any moment does.
var epoch = time.Now()

// After returns the moment d after now, or the last one there is.
func After(now time.Time, d time.Duration) Instant {
	since := now.Sub(epoch)
	return Instant(since + min(d, math.MaxInt64-max(since, 0)))
}

// Left returns how long it is from now until i; it is negative if i has passed.
func (i Instant) Left(now time.Time) time.Duration { return time.Duration(i) - now.Sub(epoch) }
