// Package fair shares what is scarce among those of whom nothing is known:
// turns to have a credential reviewed ([Gate]), connections and requests under way
// ([Listener], [Handler]), and lines of the log ([LogHandler]). Whoever was no good
// of late comes last.
package fair

import "time"

// Bucket holds up to Burst tokens and gets Rate more each second. Its user locks
// it. Without a Rate it is never empty.
type Bucket struct {
	Rate, Burst float64

	missing float64
	at      time.Time
}

// Take takes a token, if there is one.
func (b *Bucket) Take(now time.Time) bool {
	if b.Until(now, 0) > 0 {
		return false
	}
	b.missing++
	return true
}

// Return gives a token back.
func (b *Bucket) Return() { b.missing = max(b.missing-1, 0) }

// Until is how long there will be no token beside those that are kept.
func (b *Bucket) Until(now time.Time, kept float64) time.Duration {
	if b.Rate <= 0 {
		return 0
	}
	b.missing = max(b.missing-b.Rate*now.Sub(b.at).Seconds(), 0)
	b.at = now
	if short := b.missing + 1 + kept - b.Burst; short > 0 {
		return time.Duration(short/b.Rate*float64(time.Second)) + 1
	}
	return 0
}
