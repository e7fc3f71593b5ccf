// Package prom counts things and writes them in the Prometheus text format. A
// metric that no [Registry] made, which is nil or a zero value, may be told
// things, and counts nothing.
package prom

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Registry is a set of metrics, written in the order in which they were made.
// The zero value is ready. Metrics are made before the first one is used; the
// rest is safe for concurrent use.
type Registry struct {
	families []*family
}

// family is one metric name with all its label values.
type family struct {
	name, help, kind string
	labels           []string
	mu               sync.Mutex
	series           map[string]sample // by rendered label pairs
	make             func() sample
}

// sample writes the lines of one combination of label values.
type sample interface {
	write(w *bytes.Buffer, name, labels string)
}

// Vec is a metric for each combination of label values.
type Vec[S sample] struct{ family *family }

// With returns the one for these label values, in the order of the labels.
func (v Vec[S]) With(values ...string) S {
	s, _ := v.family.with(values, nil).(S)
	return s
}

// Func has a counter or gauge read each time it is written, from a function that is
// safe for concurrent use. That of a counter never returns less than before.
func (v Vec[S]) Func(read func() int64, values ...string) { v.family.with(values, reading(read)) }

// A counter only grows, a gauge goes up and down, and a histogram sorts observations
// into buckets.
type (
	CounterVec   = Vec[*Counter]
	GaugeVec     = Vec[*Gauge]
	HistogramVec = Vec[*Histogram]
)

// Counter returns a new counter. Label values must come from a small set: each
// combination is kept for good.
func (r *Registry) Counter(name, help string, labels ...string) CounterVec {
	return CounterVec{r.add(name, help, "counter", labels, func() sample { return new(Counter) })}
}

// Counter is one count.
type Counter struct{ n atomic.Int64 }

// Inc adds one.
func (c *Counter) Inc() {
	if c != nil {
		c.n.Add(1)
	}
}

// Value returns the count so far.
func (c *Counter) Value() int64 { return c.n.Load() }

func (c *Counter) write(w *bytes.Buffer, name, labels string) {
	fmt.Fprintf(w, "%s%s %d\n", name, braced(labels), c.n.Load())
}

// Gauge returns a new gauge; see [Registry.Counter] for the labels.
func (r *Registry) Gauge(name, help string, labels ...string) GaugeVec {
	return GaugeVec{r.add(name, help, "gauge", labels, func() sample { return new(Gauge) })}
}

// reading is a series that keeps nothing itself.
type reading func() int64

func (r reading) write(w *bytes.Buffer, name, labels string) {
	fmt.Fprintf(w, "%s%s %d\n", name, braced(labels), r())
}

// Gauge is a count that may go down too.
type Gauge struct{ Counter }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) {
	if g != nil {
		g.n.Add(n)
	}
}

// Histogram returns a new histogram with these upper bounds, which ascend; see
// [Registry.Counter] for the labels.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) HistogramVec {
	return HistogramVec{r.add(name, help, "histogram", labels, func() sample {
		return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
	})}
}

// Histogram is one set of buckets.
type Histogram struct {
	bounds []float64
	counts []atomic.Uint64 // not cumulative; the last one is above all bounds
	sum    atomic.Uint64   // bits of a float64
}

// Observe counts v.
func (h *Histogram) Observe(v float64) {
	if h == nil {
		return
	}
	i := 0
	if len(h.bounds) > 0 && v > h.bounds[0] { // the first bucket is where most things are
		i, _ = slices.BinarySearch(h.bounds, v)
	}
	h.counts[i].Add(1)
	for v != 0 {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Count returns how many observations there were so far.
func (h *Histogram) Count() (n int64) {
	for i := range h.counts {
		n += int64(h.counts[i].Load())
	}
	return n
}

func (h *Histogram) write(w *bytes.Buffer, name, labels string) {
	var count uint64
	comma := ""
	if labels != "" {
		comma = ","
	}
	for i := range h.counts {
		count += h.counts[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = formatFloat(h.bounds[i])
		}
		fmt.Fprintf(w, "%s_bucket{%s%sle=%q} %d\n", name, labels, comma, bound, count)
	}
	sum := math.Float64frombits(h.sum.Load())
	fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", name, braced(labels), formatFloat(sum), name, braced(labels), count)
}

func (r *Registry) add(name, help, kind string, labels []string, make func() sample) *family {
	f := &family{name: name, help: help, kind: kind, labels: labels, series: map[string]sample{}, make: make}
	r.families = append(r.families, f)
	if len(labels) == 0 {
		f.with(nil, nil) // a metric without labels is there from the start
	}
	return f
}

// with returns what a combination of label values is written by: s from now on,
// unless that is nil.
func (f *family) with(values []string, s sample) sample {
	if f == nil {
		return nil
	}
	pairs := f.pairs(values)
	f.mu.Lock()
	defer f.mu.Unlock()
	if s == nil && f.series[pairs] == nil {
		s = f.make()
	}
	if s != nil {
		f.series[pairs] = s
	}
	return f.series[pairs]
}

// pairs panics if there are not as many values as labels.
func (f *family) pairs(values []string) string {
	if len(values) != len(f.labels) {
		panic(fmt.Sprintf("metric %s has %d labels, not %d", f.name, len(f.labels), len(values)))
	}
	pairs := make([]string, len(values))
	for i, value := range values {
		pairs[i] = f.labels[i] + `="` + labelEscaper.Replace(value) + `"`
	}
	return strings.Join(pairs, ",")
}

var (
	labelEscaper = strings.NewReplacer("\\", `\\`, "\n", `\n`, "\"", `\"`)
	helpEscaper  = strings.NewReplacer("\\", `\\`, "\n", `\n`)
)

// WriteTo writes all metrics in the text format, version 0.0.4.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	for _, f := range r.families {
		f.write(&b)
	}
	return b.WriteTo(w)
}

func (f *family) write(b *bytes.Buffer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.series) == 0 {
		return
	}
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", f.name, helpEscaper.Replace(f.help), f.name, f.kind)
	for _, labels := range slices.Sorted(maps.Keys(f.series)) {
		f.series[labels].write(b, f.name, labels)
	}
}

func braced(labels string) string {
	if labels == "" {
		return ""
	}
	return "{" + labels + "}"
}

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
