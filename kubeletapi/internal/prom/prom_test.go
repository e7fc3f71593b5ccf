package prom

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteTo(t *testing.T) {
	var r Registry
	hits := r.Counter("hits_total", "Hits, \\ and\na second line.", "path", "code")
	hits.With("/b", "200").Inc()
	hits.With(`/a"\`+"\n", "500").Inc()
	hits.With("/b", "200").Inc()
	r.Counter("idle_total", "Never shown without a value.", "x")
	r.Counter("plain_total", "Shown from the start.")
	r.Gauge("level", "Goes down too.").With().Add(-3)
	depth := int64(7)
	depths := r.Gauge("depth", "Read when written.", "side")
	depths.Func(func() int64 { depth--; return depth }, "left")
	depths.Func(func() int64 { return 1 }, "right")
	depths.Func(func() int64 { return -1 }, "right")
	r.Counter("read_total", "").Func(func() int64 { return 3 })
	h := r.Histogram("seconds", "Time.", []float64{0.5, 1}, "code")
	for _, v := range []float64{0.25, 0.5, 0.75, 4} {
		h.With("200").Observe(v)
	}
	want := `# HELP hits_total Hits, \\ and\na second line.
# TYPE hits_total counter
hits_total{path="/a\"\\\n",code="500"} 1
hits_total{path="/b",code="200"} 2
# HELP plain_total Shown from the start.
# TYPE plain_total counter
plain_total 0
# HELP level Goes down too.
# TYPE level gauge
level -3
# HELP depth Read when written.
# TYPE depth gauge
depth{side="left"} 6
depth{side="right"} -1
# HELP read_total 
# TYPE read_total counter
read_total 3
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{code="200",le="0.5"} 2
seconds_bucket{code="200",le="1"} 3
seconds_bucket{code="200",le="+Inf"} 4
seconds_sum{code="200"} 5.5
seconds_count{code="200"} 4
`
	var got strings.Builder
	if _, err := r.WriteTo(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n := h.With("200").Count(); n != 4 {
		t.Errorf("%d observations", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	var r Registry
	c, h := r.Counter("c", "", "l"), r.Histogram("h", "", []float64{1}, "l")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 1000 {
				c.With("a").Inc()
				h.With("a").Observe(0.5)
				r.WriteTo(new(strings.Builder))
			}
		})
	}
	group.Wait()
	var got strings.Builder
	r.WriteTo(&got)
	if n := c.With("a").Value(); n != 4000 || !strings.Contains(got.String(), `h_sum{l="a"} 2000`) {
		t.Errorf("counted %d; %s", n, got.String())
	}
}

// What no Registry made counts nothing, and can be told.
func TestNothing(t *testing.T) {
	CounterVec{}.With("a").Inc()
	CounterVec{}.Func(func() int64 { return 1 }, "a")
	GaugeVec{}.With("a").Add(1)
	GaugeVec{}.Func(func() int64 { return 1 }, "a")
	HistogramVec{}.With("a").Observe(1)
	var requests *Requests
	requests.Begin("GET", "/").End()
}

// Each row is a request, and the labels that it is counted by.
func TestRequests(t *testing.T) {
	for _, test := range []struct{ method, path, want string }{
		{"GET", "/metrics", "GET metrics false"},
		{"GET", "/metrics/", "GET other false"},
		{"GET", "/metrics/cadvisor/x", "GET metrics/cadvisor false"},
		{"GET", "/metrics/mine", "GET other false"},
		{"get", "/stats/summary", "other stats false"},
		{"BREW", "/who/knows", "other other false"},
		{"POST", "/exec/a/b/c", "POST exec true"},
		{"POST", "/portForward/a", "POST portForward false"},
		{"GET", "/other", "GET other false"},
		{"other", "", "other other false"},
	} {
		var r Registry
		var got strings.Builder
		requests := r.Requests([]float64{1})
		request := requests.Begin(test.method, test.path)
		r.WriteTo(&got)
		label := strings.Fields(test.want)
		series := `{method="` + label[0] + `",path="` + label[1] + `",server_type="readwrite",long_running="` + label[2] + `"} `
		if text := got.String(); !strings.Contains(text, "_total"+series+"1\n") || !strings.Contains(text, "inflight_requests"+series+"1\n") || !strings.Contains(text, "_count"+series+"0\n") {
			t.Errorf("%s %s: no %s in %s", test.method, test.path, series, text)
		}
		request.End()
		got.Reset()
		r.WriteTo(&got)
		if text := got.String(); !strings.Contains(text, "inflight_requests"+series+"0\n") || !strings.Contains(text, "_count"+series+"1\n") {
			t.Errorf("%s %s after its end: no %s in %s", test.method, test.path, series, text)
		}
	}
}
