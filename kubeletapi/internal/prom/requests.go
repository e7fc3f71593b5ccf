package prom

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// The label values that requests are counted by; every other one is "other"
// (getMetricMethodBucket and getMetricBucket of pkg/kubelet/server/server.go).
var (
	methods = [...]string{"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "other"}
	paths   = [...]string{
		"healthz", "readyz", "metrics", "metrics/cadvisor", "metrics/resource", "metrics/probes",
		"stats", "logs", "spec", "pods", "runningpods", "configz", "checkpoint", "statusz", "flagz",
		"exec", "attach", "run", "portForward", "containerLogs", "debug", "other",
	}
)

// Requests are the kubelet's metrics of HTTP requests. It is safe for concurrent
// use, and a nil one counts nothing.
type Requests struct {
	total    CounterVec
	duration HistogramVec
	inflight GaugeVec
	kinds    [len(methods)][len(paths)]atomic.Pointer[requestKind]
}

// requestKind are the requests with one method and one path.
type requestKind struct {
	total    *Counter
	duration *Histogram
}

// Requests returns new metrics of HTTP requests, whose durations are sorted by
// these bounds.
func (r *Registry) Requests(bounds []float64) *Requests {
	labels := []string{"method", "path", "server_type", "long_running"}
	return &Requests{
		total:    r.Counter("kubelet_http_requests_total", "Number of the http requests received since the server started.", labels...),
		duration: r.Histogram("kubelet_http_requests_duration_seconds", "Duration in seconds to serve http requests.", bounds, labels...),
		inflight: r.Gauge("kubelet_http_inflight_requests", "Number of the inflight http requests.", labels...),
	}
}

// Request is a request under way.
type Request struct {
	Start time.Time
	kind  *requestKind
}

// Begin counts a request, which is under way until its End.
func (r *Requests) Begin(method, path string) Request {
	if r == nil {
		return Request{Start: time.Now()}
	}
	k := r.kind(indexOrOther(methods[:], method), indexOrOther(paths[:], rootPath(path)))
	k.total.Inc()
	return Request{time.Now(), k}
}

// End counts how long the request took.
func (r Request) End() {
	if r.kind != nil {
		r.kind.duration.Observe(time.Since(r.Start).Seconds())
	}
}

func (r *Requests) kind(method, path int) *requestKind {
	place := &r.kinds[method][path]
	if k := place.Load(); k != nil {
		return k
	}
	long := slices.Contains([]string{"exec", "attach", "debug"}, paths[path]) // not portForward, as in the kubelet
	labels := []string{methods[method], paths[path], "readwrite", strconv.FormatBool(long)}
	k := &requestKind{r.total.With(labels...), r.duration.With(labels...)}
	r.inflight.Func(k.inflight, labels...)
	place.CompareAndSwap(nil, k)
	return place.Load()
}

// inflight looks at those that have ended first, as they have begun too.
func (k *requestKind) inflight() int64 {
	ended := k.duration.Count()
	return k.total.Value() - ended
}

// indexOrOther returns where s is in list, or the last index.
func indexOrOther(list []string, s string) int {
	if i := slices.Index(list, s); i >= 0 {
		return i
	}
	return len(list) - 1
}

// rootPath is the first segment of a path, and the second too below metrics.
func rootPath(path string) string {
	path = strings.TrimPrefix(path, "/")
	root, rest, below := strings.Cut(path, "/")
	if root == "metrics" && below {
		second, _, _ := strings.Cut(rest, "/")
		return path[:len(root)+1+len(second)]
	}
	return root
}
