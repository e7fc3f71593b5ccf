package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

// grace is how long after the end of a trouble it may still show. What is
// promised is a second; the rest is for the race detector, and a machine that
// does a good deal more than it can.
const grace = 3 * time.Second

// trouble is whether something is out of order, and until when it was.
type trouble struct {
	mu   sync.Mutex
	now  bool
	over time.Time
}

func (d *trouble) set(now bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now, d.over = now, time.Now()
}

// since reports whether there was trouble that a request from start on may have met.
func (d *trouble) since(start time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now || start.Before(d.over.Add(grace))
}

func (t *town) count(event string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events[event]++
}

// trouble breaks one thing after the other, with calm times in between.
func (t *town) trouble(ctx context.Context) {
	for rest(ctx, 3*time.Second, 7*time.Second) {
		t.pause.RLock()
		for _, event := range []string{t.breakAPI(ctx), t.breakUpstream(ctx)} {
			t.count(event)
		}
		t.pause.RUnlock()
	}
}

// rest waits for a time between least and most; false: ctx has ended.
func rest(ctx context.Context, least, most time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(least + rand.N(most-least)):
		return true
	}
}

// breakAPI lies in no way that an API server in trouble does not: a definite no
// is one.
func (t *town) breakAPI(ctx context.Context) string {
	hang := make(chan struct{})
	faults := []struct {
		name string
		apiservertest.Fault
	}{
		{"API server stopped", apiservertest.Fault{}},
		{"401", apiservertest.Fault{Status: 401}}, {"403", apiservertest.Fault{Status: 403}}, {"404", apiservertest.Fault{Status: 404}},
		{"409", apiservertest.Fault{Status: 409}}, {"429", apiservertest.Fault{Status: 429, RetryAfter: 1}}, {"500", apiservertest.Fault{Status: 500}},
		{"503", apiservertest.Fault{Status: 503}}, {"hang", apiservertest.Fault{Hang: hang}}, {"a second late", apiservertest.Fault{Latency: time.Second}},
		{"reset", apiservertest.Fault{Break: apiservertest.BreakReset}}, {"close", apiservertest.Fault{Break: apiservertest.BreakClose}},
		{"cut off", apiservertest.Fault{Break: apiservertest.BreakTruncate}}, {"too large", apiservertest.Fault{Break: apiservertest.BreakOversize}},
		{"wrong kind", apiservertest.Fault{Break: apiservertest.BreakKind}}, {"empty", apiservertest.Fault{Break: apiservertest.BreakEmpty}},
		{"redirect", apiservertest.Fault{Redirect: "https://127.0.0.1:1/"}}, {"slow bytes", apiservertest.Fault{SlowBytes: 5 * time.Millisecond}},
	}
	f := faults[rand.N(len(faults))]
	t.apiDown.set(true)
	defer t.apiDown.set(false)
	if f.name == "API server stopped" {
		t.api.Stop()
		rest(ctx, 100*time.Millisecond, 2*time.Second)
		must(t.api.Restart())
		return f.name
	}
	t.api.Inject(apiservertest.TokenReviews, f.Fault)
	t.api.Inject(apiservertest.SubjectAccessReviews, f.Fault)
	rest(ctx, 200*time.Millisecond, 2*time.Second)
	t.api.Inject(apiservertest.TokenReviews)
	t.api.Inject(apiservertest.SubjectAccessReviews)
	close(hang)
	return fmt.Sprint("API server: ", f.name)
}

func (t *town) breakUpstream(ctx context.Context) string {
	if rand.N(2) == 0 {
		return "upstream left alone"
	}
	t.upDown.set(true)
	defer t.upDown.set(false)
	t.service.stop()
	rest(ctx, 50*time.Millisecond, 500*time.Millisecond)
	t.service.restart()
	return "upstream restarted"
}
