package kubeletapi

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What was found out holds for ten seconds, a failure for one.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p probe
		var err error
		tried := 0
		try := func() error { tried++; return err }
		for i, step := range []struct {
			pass  time.Duration
			err   error
			tried int
			want  bool // an error
		}{
			{0, nil, 1, false},
			{9 * time.Second, errors.New("down"), 1, false},
			{time.Second, errors.New("down"), 2, true},
			{999 * time.Millisecond, nil, 2, true},
			{time.Millisecond, nil, 3, false},
		} {
			time.Sleep(step.pass)
			err = step.err
			if got := p.check(try); (got != nil) != step.want || tried != step.tried {
				t.Errorf("step %d: %v after %d attempts, want an error: %t after %d", i, got, tried, step.want, step.tried)
			}
		}
	})
}
