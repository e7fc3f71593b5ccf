package kubeletapi

import (
	"strconv"
	"time"

	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/prom"
)

// metrics are counted under Kubernetes' names. The zero value counts nothing.
type metrics struct {
	registry prom.Registry
	requests *prom.Requests

	tokenMiss                     *prom.Counter
	tokenHitTime, tokenMissTime   *prom.Histogram
	tokenFetched, tokenFetchError *prom.Counter
	tokenInFlight, tokenWaiting   *prom.Gauge
	certificateLifetime           *prom.Histogram

	// Each in a place of its own, so that counting is not in the way of reading the rest.
	certificatesKnown, decisionsKnown *prom.Counter

	cached, cacheEvicted, queueRefused  prom.CounterVec
	reviewsInFlight, queued, expiration prom.GaugeVec
	reviews                             map[string]prom.CounterVec // by resource
	reviewTimes                         map[string]prom.HistogramVec

	refused, stale, reloads prom.CounterVec
	dropped, evicted        *prom.Counter
	loaded                  prom.GaugeVec
}

// define makes the metrics, in the order in which they are written.
func (m *metrics) define() {
	r := &m.registry
	m.certificatesKnown, m.decisionsKnown = new(prom.Counter), new(prom.Counter)
	seconds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	m.requests = r.Requests(seconds)

	requests := r.Counter("authentication_token_cache_request_total", "Bearer tokens looked up, by whether the answer was known (hit) or the API server had to review the token (miss).", "status")
	times := r.Histogram("authentication_token_cache_request_duration_seconds", "Time to look a bearer token up, by whether the answer was known.", seconds, "status")
	m.tokenHitTime, m.tokenMissTime = times.With("hit"), times.With("miss")
	m.tokenMiss = requests.With("miss")
	requests.Func(m.tokenHitTime.Count, "hit")
	fetches := r.Counter("authentication_token_cache_fetch_total", "Reviews of a bearer token, by whether the token was accepted (ok) or it was refused or the review failed (error).", "status")
	m.tokenFetched, m.tokenFetchError = fetches.With("ok"), fetches.With("error")
	active := r.Gauge("authentication_token_cache_active_fetch_count", "Reviews of a bearer token under way (in_flight), and requests that wait for one (blocked).", "status")
	m.tokenInFlight, m.tokenWaiting = active.With("in_flight"), active.With("blocked")

	lifetimes := []float64{0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000, 15552000, 31104000}
	m.certificateLifetime = r.Histogram("apiserver_client_certificate_expiration_seconds", "Distribution of the remaining lifetime of client certificates, each time one is verified.", lifetimes).With()

	m.cached = r.Counter("kubeletauth_cache_requests_total", "Questions of requests, by whether the answer was remembered (hit), was asked for (miss), or was on its way for another request (joined). A certificate is looked up once for each connection, and nobody is asked: a miss is verified here. Many misses of one kind mean that callers are new, that there are more of them than are remembered (kubeletauth_cache_evicted_total), or that a TTL is short.", "cache", "result")
	m.cacheEvicted = r.Counter("kubeletauth_cache_evicted_total", "Answers that gave way to others before they expired, as a cache was full: more callers than the README's limits are active.", "cache")
	m.reviewsInFlight = r.Gauge("kubeletauth_reviews_in_flight", "Reviews that are asked for now, those included that wait for their turn (kubeletauth_review_queue) and renewals. If there are ever more, the API server is slow or cannot be reached.", "resource")
	m.queued = r.Gauge("kubeletauth_review_queue", "Reviews that are limited, under way (asking) or before their turn (waiting): strangers have shown no good credential, insiders have and choose freely what they ask for (--request-attributes=nonresource), certificates are verified here. If some always wait, see kubeletauth_review_queue_refused_total.", "queue", "state")
	m.queueRefused = r.Counter("kubeletauth_review_queue_refused_total", "Reviews that were not asked for, as too many were or as their turn did not come within 5 seconds; the requests got 429. If it is no attack, raise --kube-api-qps, or for certificates GOMAXPROCS.", "queue")
	m.expiration = r.Gauge("kubeletauth_certificate_expiration_timestamp_seconds", "When the first of the certificates in use expires, in seconds since 1970: of the serving certificate with its intermediates, or of the authorities in the client CA file. Put a new one into the file before; take an authority out that is not used any more.", "certificate")

	m.reviews, m.reviewTimes = map[string]prom.CounterVec{}, map[string]prom.HistogramVec{}
	for resource, name := range map[string]string{"tokenreviews": "authn", "subjectaccessreviews": "authz"} {
		m.reviews[resource] = r.Counter("apiserver_delegated_"+name+"_request_total", "Number of HTTP requests to the API server's "+resource+", by status code.", "code")
		m.reviewTimes[resource] = r.Histogram("apiserver_delegated_"+name+"_request_duration_seconds", "Latency in seconds of HTTP requests to the API server's "+resource+", by status code.", []float64{0.25, 0.5, 0.7, 1, 1.5, 3, 5, 10}, "code")
	}
	m.refused = r.Counter("kubeletauth_refused_requests_total", "Requests that did not pass, by the code they got. 429 are those for whom no review was left: if they are not an attack, raise --kube-api-qps. 500 are those that the API server could not decide on: see the log.", "code")
	for _, code := range []int{400, 401, 403, 429, 500} {
		m.refused.With(strconv.Itoa(code))
	}
	m.stale = r.Counter("kubeletauth_stale_answers_total", "Answers of the API server that were used beyond their TTL, each for some seconds, as it could not be asked (--authentication-stale-if-error, --authorization-stale-if-error).", "resource")
	m.stale.With("tokenreviews")
	m.stale.With("subjectaccessreviews")
	m.dropped = r.Counter("kubeletauth_decision_log_dropped_total", "Requests that are missing in the decision log, as it could not be written fast enough, or at all. --decision-log-mode=blocking makes requests wait instead.").With()
	m.evicted = r.Counter("kubeletauth_evicted_connections_total", "Connections that were closed to make room for others, those without a good credential first: too many are open, or too many of their requests are under way. If it is no attack, let clients keep fewer.").With()
	m.loaded = r.Gauge("kubeletauth_reload_last_success_timestamp_seconds", "When what a file on disk says was taken over last, at the start or after a change, in seconds since 1970.", "file")
	m.reloads = r.Counter("kubeletauth_reload_total", "Changes of a file on disk that were taken over (ok), or were not because the file cannot be read or used (error). On errors, see the log: the last good content is in force.", "file", "status")
}

// caches has what a remembers, and what it asks, read when it is written.
func (m *metrics) caches(a *Auth) {
	ids := a.identities
	if ids.roots != nil {
		m.cached.Func(m.certificatesKnown.Value, "certificates", "hit")
		m.cached.Func(m.certificateLifetime.Count, "certificates", "miss")
		m.cacheEvicted.Func(ids.byCertificate.Evicted, "certificates")
		m.cacheEvicted.Func(ids.refusedChains.Evicted, "refused-certificates")
	}
	if ids.tokens != nil {
		m.cached.Func(m.tokenHitTime.Count, "tokens", "hit")
		m.cached.Func(ids.reviews.Began, "tokens", "miss")
		m.cached.Func(ids.reviews.Joined, "tokens", "joined")
		m.cacheEvicted.Func(ids.byToken.Evicted, "tokens")
		m.cacheEvicted.Func(ids.refusedTokens.Evicted, "refused-tokens")
		m.reviewsInFlight.Func(func() int64 { return int64(ids.reviews.Len()) }, "tokenreviews")
	}
	if memory := a.memory; memory != nil {
		m.cached.Func(m.decisionsKnown.Value, "decisions", "hit")
		m.cached.Func(memory.reviews.Began, "decisions", "miss")
		m.cached.Func(memory.reviews.Joined, "decisions", "joined")
		m.cacheEvicted.Func(func() int64 { return ids.byUser.Evicted() + memory.others.Evicted() }, "decisions")
		m.reviewsInFlight.Func(func() int64 { return int64(memory.reviews.Len()) }, "subjectaccessreviews")
	}
	m.queue("strangers", a.strangers)
	m.queue("insiders", a.insiders)
	m.queue("certificates", ids.verifications)
	if a.clientCA != nil {
		m.expires("client-ca", func() time.Time { return a.clientCA.Get().Expires })
	}
}

func (m *metrics) queue(name string, gate *fair.Gate) {
	m.queueRefused.Func(gate.Refused, name)
	m.queued.Func(func() int64 { asking, _ := gate.Len(); return int64(asking) }, name, "asking")
	m.queued.Func(func() int64 { _, waiting := gate.Len(); return int64(waiting) }, name, "waiting")
}

// expires has the end of a certificate read when it is written.
func (m *metrics) expires(certificate string, end func() time.Time) {
	m.expiration.Func(func() int64 { return end().Unix() }, certificate)
}

// review counts one HTTP request to the API server; it is kubeclient's Observe.
func (m *metrics) review(resource, code string, d time.Duration) {
	m.reviews[resource].With(code).Inc()
	m.reviewTimes[resource].With(code).Observe(d.Seconds())
}

// watch begins the counts of a file that was just read, or is about to be, at zero.
func (m *metrics) watch(file string) {
	m.reloads.With(file, "ok")
	m.reloads.With(file, "error")
	m.load(file)
}

func (m *metrics) load(file string) {
	now := time.Now().Unix()
	m.loaded.Func(func() int64 { return now }, file)
}

func (m *metrics) reload(file string, err error) {
	if err != nil {
		m.reloads.With(file, "error").Inc()
		return
	}
	m.reloads.With(file, "ok").Inc()
	m.load(file)
}
