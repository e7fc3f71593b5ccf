package oracle

import (
	"testing"
	"time"
)

// mostFailures is how many cases a test shows before it gives up.
const mostFailures = 5

// run runs a case n times, shows what is wrong with the first few that fail, and says how long it took.
func run(t *testing.T, n int, try func() (wrong string)) {
	t.Helper()
	began := time.Now()
	failures := 0
	for i := range n {
		wrong := try()
		if wrong == "" {
			continue
		}
		t.Errorf("case %d: %s", i, wrong)
		if failures++; failures == mostFailures {
			t.FailNow()
		}
	}
	t.Logf("%d cases in %s", n, time.Since(began).Round(time.Millisecond))
}
