package main

import (
	"runtime"
	"slices"
	"time"
)

// subject is an operation that is measured.
type subject struct {
	op            func()
	n             int       // how often it runs in a round
	nanos         []float64 // an operation takes, by round
	allocs, bytes uint64    // an operation allocates, in the round with the fewest
}

// newSubject runs op, so that it is hot, and finds out how often it has to run to
// take as long as a round: so often, in any case, that what is allocated meanwhile
// elsewhere does not count.
func newSubject(op func(), round time.Duration) *subject {
	s := &subject{op: op, n: 1 << 10, allocs: 1 << 63, bytes: 1 << 63}
	for op(); ; s.n *= 2 {
		if took := s.run(); took >= round/4 {
			s.n = max(1<<10, int(float64(s.n)*float64(round)/float64(took)))
			return s
		}
	}
}

func (s *subject) run() time.Duration {
	start := time.Now()
	for range s.n {
		s.op()
	}
	return time.Since(start)
}

// measure runs one round.
func (s *subject) measure() {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	took := s.run()
	runtime.ReadMemStats(&after)
	s.nanos = append(s.nanos, float64(took)/float64(s.n))
	s.allocs = min(s.allocs, (after.Mallocs-before.Mallocs)/uint64(s.n))
	s.bytes = min(s.bytes, (after.TotalAlloc-before.TotalAlloc)/uint64(s.n))
}

// median leaves values in their order.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

// medianRatio is the median of the rounds' ratios: of two that were measured in
// turn, each round met the same weather.
func medianRatio(a, b []float64) float64 {
	var ratios []float64
	for i := range a {
		ratios = append(ratios, a[i]/b[i])
	}
	return median(ratios)
}
