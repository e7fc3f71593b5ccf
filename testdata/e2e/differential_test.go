package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"kubeletauth/testdata/e2e/internal/generate"
	"kubeletauth/testdata/e2e/internal/harness"
)

const (
	differentialRequests = 10_000 // without anonymous requests, and half as many again with them
	differentialWorkers  = 8
	mostDifferences      = 10 // shown
)

// TestDifferential sends the same generated requests to a real kubelet and to our server, which stand for the same node
// before the same API server. Both have to give answers of the same class, with the same text, and both have to ask the
// API server the same. The differences that the README lists are in differential_rows_test.go; there are no others.
func TestDifferential(t *testing.T) {
	c := theCluster(t)
	callers := newCallers(t, c)
	t.Run("no anonymous requests", func(t *testing.T) { differential(t, c, callers, false, differentialRequests) })
	t.Run("anonymous requests", func(t *testing.T) { differential(t, c, callers, true, differentialRequests/2) })
}

// differential compares n answers, and then what the API server was asked for them.
func differential(t *testing.T, c *harness.Cluster, callers *callers, anonymous bool, n int) {
	d := newDifferential(t, c, callers, anonymous)
	s := generate.New(t)
	requests := make([]request, n)
	for i := range requests {
		requests[i] = callers.request(s)
	}
	mark := c.AuditMark(t)
	began := time.Now()
	differences := d.compareAll(t.Context(), requests)
	t.Logf("%d requests in %s: %s", n, time.Since(began).Round(time.Millisecond), d.tally())
	for i, difference := range differences {
		if i == mostDifferences {
			t.Errorf("and %d more", len(differences)-i)
			break
		}
		t.Error(difference)
	}
	compareReviews(t, callers, c.ReviewsSince(t, mark))
	d.showRows(t)
}

// differentialPair is a real kubelet and our server, for the same node.
type differentialPair struct {
	kubelet, ours *endpoint
	callers       *callers

	mu   sync.Mutex
	seen map[string]int // how many requests fell under a row, or into a class of answers
}

// compareAll sends the requests, several at a time, and returns what is wrong.
func (d *differentialPair) compareAll(ctx context.Context, requests []request) (wrong []string) {
	next := make(chan request)
	var workers sync.WaitGroup
	for range differentialWorkers {
		workers.Go(func() {
			for r := range next {
				if err := d.compare(ctx, r); err != nil {
					d.mu.Lock()
					wrong = append(wrong, fmt.Sprintf("%s\n%v", r, err))
					d.mu.Unlock()
				}
			}
		})
	}
	for _, r := range requests {
		next <- r
	}
	close(next)
	workers.Wait()
	return wrong
}

// compare sends one request to both and says how the answers differ.
func (d *differentialPair) compare(ctx context.Context, r request) error {
	ours, err := d.ours.ask(ctx, r)
	if err != nil {
		return fmt.Errorf("ours: %w", err)
	}
	want, row, err := d.expected(ctx, r)
	if err != nil {
		return fmt.Errorf("the kubelet: %w", err)
	}
	d.count(row, want.class)
	if r.method == http.MethodHead { // an answer to HEAD has no text
		ours.text, want.text = "", ""
	}
	if ours.class != want.class || ours.text != want.text {
		return fmt.Errorf("ours answers %s\nand not     %s\nunder the row %q", ours, want, row)
	}
	return nil
}

// expected is what our server has to answer: what the kubelet answers, but for the rows of the table.
func (d *differentialPair) expected(ctx context.Context, r request) (want outcome, row string, err error) {
	for _, row := range rowsBefore {
		if row.applies(r) {
			return row.want, row.name, nil
		}
	}
	row = "none"
	if changed, found := r.withoutSpaces(); found {
		r, row = changed, rowUnreviewed
	}
	if r.method == http.MethodHead {
		row = rowHead
		r.method = http.MethodGet
	}
	if want, err = d.kubelet.ask(ctx, r); err != nil {
		return want, row, err
	}
	for _, mux := range rowsOfTheMux {
		if mux.applies(r, want) {
			want, err = mux.expected(ctx, d, r, want)
			return want, mux.name, err
		}
	}
	return want, row, nil
}

// count counts a request.
func (d *differentialPair) count(row string, class class) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen["row "+row]++
	d.seen["class "+string(class)]++
}
