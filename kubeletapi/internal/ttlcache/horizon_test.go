package ttlcache

import (
	"testing"
	"testing/synctest"
	"time"
)

// Whenever it is asked, the horizon is from now on and at most Ahead from it; and
// nothing is left of a clock that nobody asks.
func TestHorizon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		for _, pause := range []time.Duration{0, 1, tick - 1, tick, 3 * tick, time.Hour, tick / 2, tick / 2, tick / 2, tick / 2, tick / 2, tick / 2, tick / 2, tick / 2, Ahead, 0, 0, time.Minute} {
			time.Sleep(pause)
			h := c.Horizon()
			if ahead := h.Instant.Left(time.Now()); ahead < Ahead-2*tick || ahead > Ahead {
				t.Errorf("after %v, the horizon is %v ahead", pause, ahead)
			}
			if end := h.Before.Add(Ahead); h.Instant.Left(end) != 0 || h.Unix != end.Unix() {
				t.Errorf("after %v, %v and %v are not the same moment", pause, h, end)
			}
		}
		late := c.Horizon()
		if c.HorizonAt(time.Now()) != late || c.HorizonAt(time.Now().Add(Ahead-1)) != late || c.HorizonAt(time.Now().Add(Ahead)) == late || c.HorizonAt(time.Now().Add(time.Hour)) == late {
			t.Error("it goes by a timer that is late")
		}
		if c.Horizon(); c.moment.Load() == nil {
			t.Error("it reads the time for each who asks")
		}
		if time.Sleep(2*tick + 1); c.moment.Load() != nil {
			t.Error("it goes on with nobody asking")
		}
	})
}
