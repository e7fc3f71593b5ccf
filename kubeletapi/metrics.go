package kubeletapi

import (
	"crypto/x509"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"kubeletauth/kubeletapi/internal/prom"
)

// metrics are counted under Kubernetes' names. All methods are safe to call on
// nil, which counts nothing.
type metrics struct {
	registry prom.Registry

	httpRequests prom.CounterVec
	httpDuration prom.HistogramVec
	httpInflight prom.GaugeVec
	http         [len(httpMethods) + 1][len(httpPaths) + 1]atomic.Pointer[httpSeries]

	tokenHit, tokenMiss           *prom.Counter
	tokenHitTime, tokenMissTime   *prom.Histogram
	tokenFetched, tokenFetchError *prom.Counter
	tokenInFlight, tokenWaiting   *prom.Gauge

	certificateLifetime *prom.Histogram

	reviews     map[string]prom.CounterVec // by resource
	reviewTimes map[string]prom.HistogramVec

	refused [len(refusals)]*prom.Counter
	evicted *prom.Counter
	dropped *prom.Counter
	stale   map[string]*prom.Counter // by resource
	reloads prom.CounterVec
}

// refusals are the codes of a RefusedError.
var refusals = [...]int{400, 401, 403, 429, 500}

// The label values that requests are counted by; every other one is "other"
// (getMetricMethodBucket and getMetricBucket of pkg/kubelet/server/server.go).
var (
	httpMethods = [...]string{"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"}
	httpPaths   = [...]string{
		"healthz", "readyz", "metrics", "metrics/cadvisor", "metrics/resource", "metrics/probes", "metrics/slis",
		"stats", "logs", "spec", "pods", "runningpods", "allocatedPods", "configz", "checkpoint", "statusz", "flagz",
		"exec", "attach", "run", "portForward", "containerLogs", "debug",
	}
)

type httpSeries struct {
	requests *prom.Counter
	duration *prom.Histogram
	inflight *prom.Gauge
}

func newMetrics() *metrics {
	m := &metrics{stale: map[string]*prom.Counter{}, reviews: map[string]prom.CounterVec{}, reviewTimes: map[string]prom.HistogramVec{}}
	r := &m.registry
	seconds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	httpLabels := []string{"method", "path", "server_type", "long_running"}
	m.httpRequests = r.Counter("kubelet_http_requests_total", "Number of the http requests received since the server started.", httpLabels...)
	m.httpDuration = r.Histogram("kubelet_http_requests_duration_seconds", "Duration in seconds to serve http requests.", seconds, httpLabels...)
	m.httpInflight = r.Gauge("kubelet_http_inflight_requests", "Number of the inflight http requests.", httpLabels...)

	requests := r.Counter("authentication_token_cache_request_total", "Bearer tokens looked up, by whether the answer was known (hit) or the API server had to review the token (miss).", "status")
	times := r.Histogram("authentication_token_cache_request_duration_seconds", "Time to look a bearer token up, by whether the answer was known.", seconds, "status")
	m.tokenHit, m.tokenHitTime = requests.With("hit"), times.With("hit")
	m.tokenMiss, m.tokenMissTime = requests.With("miss"), times.With("miss")
	fetches := r.Counter("authentication_token_cache_fetch_total", "Reviews of a bearer token, by whether the token was accepted (ok) or it was refused or the review failed (error).", "status")
	m.tokenFetched, m.tokenFetchError = fetches.With("ok"), fetches.With("error")
	active := r.Gauge("authentication_token_cache_active_fetch_count", "Reviews of a bearer token under way (in_flight), and requests that wait for one (blocked).", "status")
	m.tokenInFlight, m.tokenWaiting = active.With("in_flight"), active.With("blocked")

	lifetimes := []float64{0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000, 15552000, 31104000}
	m.certificateLifetime = r.Histogram("apiserver_client_certificate_expiration_seconds", "Distribution of the remaining lifetime of client certificates, each time one is verified.", lifetimes).With()

	for resource, name := range map[string]string{"tokenreviews": "authn", "subjectaccessreviews": "authz"} {
		m.reviews[resource] = r.Counter("apiserver_delegated_"+name+"_request_total", "Number of HTTP requests to the API server's "+resource+", by status code.", "code")
		m.reviewTimes[resource] = r.Histogram("apiserver_delegated_"+name+"_request_duration_seconds", "Latency in seconds of HTTP requests to the API server's "+resource+", by status code.", []float64{0.25, 0.5, 0.7, 1, 1.5, 3, 5, 10}, "code")
	}
	refused := r.Counter("kubeletauth_refused_requests_total", "Requests that did not pass, by the code they got. 429 are those for whom no review was left: if they are not an attack, raise --kube-api-qps. 500 are those that the API server could not decide on: see the log.", "code")
	for i, code := range refusals {
		m.refused[i] = refused.With(strconv.Itoa(code))
	}
	stale := r.Counter("kubeletauth_stale_answers_total", "Answers of the API server that were used beyond their TTL, each for some seconds, as it could not be asked (--authentication-stale-if-error, --authorization-stale-if-error).", "resource")
	for _, resource := range []string{"tokenreviews", "subjectaccessreviews"} {
		m.stale[resource] = stale.With(resource)
	}
	m.dropped = r.Counter("kubeletauth_decision_log_dropped_total", "Requests that are missing in the decision log, as it could not be written fast enough, or at all. --decision-log-mode=blocking makes requests wait instead.").With()
	m.evicted = r.Counter("kubeletauth_evicted_connections_total", "Connections without a good credential that were closed to make room for others.").With()
	m.reloads = r.Counter("kubeletauth_reload_total", "Changes of a file on disk that were taken over (ok), or were not because the file cannot be read or used (error). On errors, see the log: the last good content is in force.", "file", "status")
	return m
}

func (m *metrics) write(w io.Writer) error {
	if m == nil {
		return nil
	}
	_, err := m.registry.WriteTo(w)
	return err
}

// served is a request being served.
type served struct {
	series *httpSeries
	start  time.Time
}

func (m *metrics) serve(r *http.Request) served {
	if m == nil {
		return served{}
	}
	s := m.httpSeries(r.Method, r.URL.Path)
	s.requests.Inc()
	s.inflight.Add(1)
	return served{s, time.Now()}
}

func (s served) done() {
	if s.series != nil {
		s.series.inflight.Add(-1)
		s.series.duration.Observe(time.Since(s.start).Seconds())
	}
}

func (m *metrics) httpSeries(method, path string) *httpSeries {
	i, j := indexOrOther(httpMethods[:], method), indexOrOther(httpPaths[:], rootPath(path))
	place := &m.http[i][j]
	if s := place.Load(); s != nil {
		return s
	}
	labels := []string{append(httpMethods[:], "other")[i], append(httpPaths[:], "other")[j], "readwrite", "false"}
	switch labels[1] {
	case "exec", "attach", "debug": // not portForward, as in the kubelet
		labels[3] = "true"
	}
	place.CompareAndSwap(nil, &httpSeries{m.httpRequests.With(labels...), m.httpDuration.With(labels...), m.httpInflight.With(labels...)})
	return place.Load()
}

func indexOrOther(list []string, s string) int {
	if i := slices.Index(list, s); i >= 0 {
		return i
	}
	return len(list)
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

// tokenKnown counts a token whose answer was known. That takes no time.
func (m *metrics) tokenKnown() {
	if m != nil {
		m.tokenHit.Inc()
		m.tokenHitTime.Observe(0)
	}
}

func (m *metrics) tokenAsked(d time.Duration) {
	if m != nil {
		m.tokenMiss.Inc()
		m.tokenMissTime.Observe(d.Seconds())
	}
}

// tokenBlocked counts a request that waits until the function it returns is
// called.
func (m *metrics) tokenBlocked() func() {
	if m == nil {
		return func() {}
	}
	m.tokenWaiting.Add(1)
	return func() { m.tokenWaiting.Add(-1) }
}

// tokenFetch counts a review until the function it returns is told its end.
func (m *metrics) tokenFetch() func(error) {
	if m == nil {
		return func(error) {}
	}
	m.tokenInFlight.Add(1)
	return func(err error) {
		m.tokenInFlight.Add(-1)
		if err != nil {
			m.tokenFetchError.Inc()
		} else {
			m.tokenFetched.Inc()
		}
	}
}

func (m *metrics) certificate(leaf *x509.Certificate, now time.Time) {
	if m != nil {
		m.certificateLifetime.Observe(leaf.NotAfter.Sub(now).Seconds())
	}
}

// review counts one HTTP request to the API server; it is kubeclient's Observe.
func (m *metrics) review(resource, code string, d time.Duration) {
	m.reviews[resource].With(code).Inc()
	m.reviewTimes[resource].With(code).Observe(d.Seconds())
}

func (m *metrics) refuse(code int) {
	if i := slices.Index(refusals[:], code); m != nil && i >= 0 {
		m.refused[i].Inc()
	}
}

func (m *metrics) useStale(resource string) {
	if m != nil {
		m.stale[resource].Inc()
	}
}

func (m *metrics) dropEvent() {
	if m != nil {
		m.dropped.Inc()
	}
}

func (m *metrics) evict() {
	if m != nil {
		m.evicted.Inc()
	}
}

// watch begins the counts of a file at zero.
func (m *metrics) watch(file string) {
	if m != nil {
		m.reloads.With(file, "ok")
		m.reloads.With(file, "error")
	}
}

func (m *metrics) reload(file string, err error) {
	if m == nil {
		return
	}
	status := "ok"
	if err != nil {
		status = "error"
	}
	m.reloads.With(file, status).Inc()
}
