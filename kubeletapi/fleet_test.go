package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/internal/tlsconfig"
	"kubeletauth/kubeletapi/internal/ttlcache"
	"kubeletauth/kubeletapi/kubeclient"
)

// fleetAPI is the one API server of a fleet, and what happens in each second:
// the reviews that it sees, whatever becomes of them, and the requests to the
// nodes, with those that had to wait for a review, and those that had no answer.
type fleetAPI struct {
	begin                       time.Time
	mood                        atomic.Int32
	seen, asked, waited, failed [fleetEnd / time.Second]atomic.Int32
}

func (s *fleetAPI) count(what *[fleetEnd / time.Second]atomic.Int32) {
	what[min(time.Since(s.begin), fleetEnd-1)/time.Second].Add(1)
}

const (
	isUp      int32 = iota
	isDown          // connections are refused
	isFailing       // 500, as without etcd
)

// fleetClient is a node's client of it, with the pauses and retries of
// kubeclient, or of the kubelet.
type fleetClient struct {
	*fleetAPI
	patient  bool // the kubelet's: retries whatever has failed before
	failures atomic.Int32
}

func (c *fleetClient) review() error {
	pause, tries := 500*time.Millisecond, 5
	if c.failures.Load() >= 20 && !c.patient {
		tries = 1
	}
	for {
		c.count(&c.seen)
		switch mood := c.mood.Load(); mood {
		case isDown:
			c.failures.Add(1)
			return refusedConnection
		default:
			if time.Sleep(5 * time.Millisecond); mood == isUp {
				c.failures.Store(0)
				return nil
			}
		}
		c.failures.Add(1)
		if tries--; tries == 0 {
			return &kubeclient.StatusError{Code: http.StatusInternalServerError}
		}
		time.Sleep(pause + rand.N(pause/5))
		pause += pause / 2
	}
}

func (c *fleetClient) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	if err := c.review(); err != nil {
		return nil, err
	}
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: spec.Token}}, nil
}

func (c *fleetClient) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	if err := c.review(); err != nil {
		return nil, err
	}
	return &authz.SubjectAccessReviewStatus{Allowed: spec.User != authn.UserAnonymous}, nil
}

// filter is a node's, ours or the kubelet's.
type filter func(*http.Request) error

// ours returns the filter of this package.
func ours(t *testing.T, api *fleetAPI, roots *x509.CertPool) (f filter, closed func()) {
	client := &fleetClient{fleetAPI: api}
	auth, err := New(Config{AnonymousAuth: true, AuthenticationTokenWebhook: true, AuthorizationMode: ModeWebhook, HostnameOverride: "n",
		TokenReviewer: client, AccessReviewer: client, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c := auth.identities
	c.roots = func(time.Time) *tlsconfig.Bundle { return tlsconfig.NewBundle(roots) }
	// A thousand of them have to fit into a test's memory, and nobody needs more.
	c.byCertificate, c.byToken, c.byUser = ttlcache.NewTable[identity](64), ttlcache.NewTable[identity](64), ttlcache.NewTable[decisions](64)
	c.refusedChains, c.refusedTokens, auth.memory.others = ttlcache.NewTable[verification](64), ttlcache.NewTable[error](64), ttlcache.NewTable[answer](64)
	return func(r *http.Request) error { _, err := auth.Check(r); return err }, auth.Close
}

// kubelet is the kubelet's filter: an answer lasts for its TTL, and then the
// next request waits for another. Equal TokenReviews are joined, and
// SubjectAccessReviews are not.
type kubelet struct {
	client fleetClient
	tokens ttlcache.Group[string, bool]
	mu     sync.Mutex
	until  map[string]time.Time // of tokens, and of users with what they ask for
}

func newKubelet(api *fleetAPI) *kubelet {
	return &kubelet{client: fleetClient{fleetAPI: api, patient: true}, until: map[string]time.Time{}, tokens: ttlcache.Group[string, bool]{Timeout: 30 * time.Second}}
}

func (k *kubelet) check(r *http.Request) error {
	user, ttl := r.Header.Get("Authorization"), 5*time.Minute
	switch {
	case r.TLS != nil:
		user = "certificate"
	case user == "":
		user, ttl = "anonymous", 30*time.Second
	case !k.known(user):
		if _, err := k.tokens.Do(r.Context(), user, func(context.Context) (bool, error) { return true, k.ask(user, 2*time.Minute) }); err != nil {
			return err
		}
	}
	access := user + " " + newQuestion(r.Method, r.URL.Path, false).subresource.String()
	if k.known(access) {
		return nil
	}
	return k.ask(access, ttl)
}

func (k *kubelet) known(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !time.Now().After(k.until[key])
}

func (k *kubelet) ask(key string, ttl time.Duration) error {
	if err := k.client.review(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until[key] = time.Now().Add(ttl)
	return nil
}

// scraper is somebody who asks each node of the fleet, and how that is spread.
type scraper struct {
	token  string // or "certificate", or none
	paths  []string
	every  time.Duration
	spread time.Duration // of a round over all nodes; 0 for a turn that is a node's own
	burst  bool          // all paths at once; else each has a turn of its own
}

// scrapers are those of an ordinary cluster.
var scrapers = []scraper{
	{"prometheus-0", []string{"/metrics", "/metrics/cadvisor"}, 15 * time.Second, 0, false}, // which spreads its targets
	{"prometheus-1", []string{"/metrics"}, 30 * time.Second, 0, false},
	{"metrics-server", []string{"/metrics/resource"}, 15 * time.Second, 4 * time.Second, false}, // all nodes in the first 4 seconds
	{"agent", []string{"/metrics", "/metrics/cadvisor", "/stats/summary", "/pods"}, 30 * time.Second, 0, true},
	{"operator", []string{"/stats/summary"}, time.Minute, 10 * time.Second, false},
	{"certificate", []string{"/containerLogs/a", "/containerLogs/b", "/containerLogs/c"}, time.Minute, 0, true}, // the API server's
	{"", []string{"/healthz"}, 15 * time.Second, 0, false},                                                      // a probe, which is refused
}

// A node's scrapers have tokensPerNode tokens, and need decisionsPerNode
// decisions, without those about the probe.
const tokensPerNode, decisionsPerNode = 5, 8

const (
	// Who begins or comes back asks each question once, and about the probe each 30 s.
	reviewsToStart = tokensPerNode + decisionsPerNode + 3
	// No answer is renewed in the first eight tenths of its TTL.
	fleetMost = tokensPerNode/96. + decisionsPerNode/240. + 1/30.
)

func (s *scraper) request(connection context.Context, path string, leaf *x509.Certificate) *http.Request {
	r := httptest.NewRequest("GET", path, nil).WithContext(connection)
	switch s.token {
	case "":
	case "certificate":
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	default:
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	return r
}

// run asks one node, all of the requests at once, until the end.
func (s *scraper) run(check filter, requests []*http.Request, end time.Time) {
	turn := rand.N(s.every)
	for round := time.Now(); ; round = round.Add(s.every) {
		if s.spread > 0 {
			turn = rand.N(s.spread)
		}
		if time.Sleep(time.Until(round.Add(turn))); !time.Now().Before(end) {
			return
		}
		for _, r := range requests[1:] {
			go check(r)
		}
		check(requests[0])
	}
}

// What happens to a fleet, whose nodes all begin at 0, as after a power cut.
const (
	fleetRestart   = 7*time.Minute + 30*time.Second // connections to the API server are refused,
	fleetRestarted = fleetRestart + 20*time.Second
	fleetOutage    = 9 * time.Minute                 // again,
	fleetFailing   = 11*time.Minute + 30*time.Second // and then it answers 500
	fleetRecovery  = 14 * time.Minute
	fleetEnd       = 19*time.Minute + 40*time.Second
)

// fleetPhases are what the document has a row for.
var fleetPhases = []struct {
	name     string
	from, to time.Duration
}{
	{"all nodes start", 0, 30 * time.Second},
	{"ordinary", 30 * time.Second, fleetRestart},
	{"restart", fleetRestart, fleetRestarted},
	{"after the restart", fleetRestarted, fleetRestarted + 30*time.Second},
	{"outage, refused", fleetOutage, fleetFailing},
	{"outage, 500", fleetFailing, fleetRecovery},
	{"recovery", fleetRecovery, fleetRecovery + 30*time.Second},
	{"ordinary again", fleetRecovery + 30*time.Second, fleetEnd},
}

// phase is what the API server saw in one of them, per second, for 1,000 nodes.
type phase struct{ mean, peak, asked, waited, failed float64 }

func (s *fleetAPI) phases(nodes int) map[string]phase {
	got, scale := map[string]phase{}, 1000/float64(nodes)
	for _, f := range fleetPhases {
		var p phase
		for second := f.from / time.Second; second < f.to/time.Second; second++ {
			p.mean += scale * float64(s.seen[second].Load()) / (f.to - f.from).Seconds()
			p.asked += scale * float64(s.asked[second].Load()) / (f.to - f.from).Seconds()
			p.waited += scale * float64(s.waited[second].Load()) / (f.to - f.from).Seconds()
			p.peak = max(p.peak, scale*float64(s.seen[second].Load()))
			if second > f.from/time.Second { // in the first, there are those who have begun before
				p.failed += float64(s.failed[second].Load())
			}
		}
		got[f.name] = p
	}
	return got
}

// total is the reviews of a minute for each node.
func (s *fleetAPI) total(from time.Duration, nodes int) (n float64) {
	for second := from / time.Second; second < (from+time.Minute)/time.Second; second++ {
		n += float64(s.seen[second].Load()) / float64(nodes)
	}
	return n
}

func runFleet(t *testing.T, nodes int, newFilter func(*fleetAPI) (filter, func()), leaf *x509.Certificate) (api *fleetAPI) {
	synctest.Test(t, func(t *testing.T) {
		api = &fleetAPI{begin: time.Now()}
		end := api.begin.Add(fleetEnd)
		var closers []func()
		var running sync.WaitGroup
		for range nodes {
			check, closed := newFilter(api)
			closers = append(closers, closed)
			ask := func(r *http.Request) error {
				api.count(&api.asked)
				start := time.Now()
				err := check(r)
				if time.Since(start) > 0 {
					api.count(&api.waited)
				}
				var refused *RefusedError
				if errors.As(err, &refused) && refused.Code != http.StatusForbidden {
					api.count(&api.failed)
				}
				return err
			}
			for _, s := range scrapers {
				connection := withSlot(t.Context(), nil)
				var requests []*http.Request
				for _, path := range s.paths {
					requests = append(requests, s.request(connection, path, leaf))
				}
				if s.burst {
					running.Go(func() { s.run(ask, requests, end) })
					continue
				}
				for _, r := range requests {
					running.Go(func() { s.run(ask, []*http.Request{r}, end) })
				}
			}
		}
		for _, change := range []struct {
			at   time.Duration
			mood int32
		}{{fleetRestart, isDown}, {fleetRestarted, isUp}, {fleetOutage, isDown}, {fleetFailing, isFailing}, {fleetRecovery, isUp}} {
			time.Sleep(time.Until(api.begin.Add(change.at)))
			api.mood.Store(change.mood)
		}
		running.Wait()
		for _, closed := range closers {
			closed()
		}
	})
	return api
}

// fleetSize is 1,000, or less where the race detector makes that too slow.
func fleetSize() int {
	if RaceDetector() {
		return 200
	}
	return 1000
}

// RaceDetector reports whether the tests run with it, many times slower.
func RaceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// What a fleet's API server sees is bounded by what the nodes' scrapers ask, in
// every phase, and there is no herd: testdata/fleet/README.md has the figures.
func TestFleet(t *testing.T) {
	t.Parallel()
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, err := apiservertest.MustNewCA(t, "root").IssueCA(apiservertest.Certificate{CommonName: "a", NotBefore: begin.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	leaf := ca.MustIssue(t, apiservertest.Certificate{CommonName: "certificate", NotBefore: begin.Add(-time.Hour), NotAfter: begin.Add(3 * time.Hour)}).Leaf
	nodes := fleetSize()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	api := runFleet(t, nodes, func(api *fleetAPI) (filter, func()) { return ours(t, api, ca.Pool()) }, leaf)
	other := runFleet(t, nodes, func(api *fleetAPI) (filter, func()) { return newKubelet(api).check, func() {} }, leaf)
	got, kubelet := api.phases(nodes), other.phases(nodes)
	for _, f := range fleetPhases {
		a, b := got[f.name], kubelet[f.name]
		t.Logf("| %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |", f.name, a.asked, a.waited, a.mean, a.peak, b.waited, b.mean, b.peak)
	}
	start, ordinary, again, recovery, failing := got["all nodes start"], got["ordinary"], got["ordinary again"], got["recovery"], got["outage, 500"]
	for _, bound := range []struct {
		name      string
		got, most float64
	}{
		{"reviews for a node's start", api.total(0, nodes), reviewsToStart},
		{"reviews for its recovery", api.total(fleetRecovery, nodes), reviewsToStart},
		{"peak at recovery, which is another start", recovery.peak, 1.2 * start.peak},
		{"peak after a restart", got["after the restart"].peak, start.peak / 2},
		{"mean", ordinary.mean, 1000 * fleetMost},
		{"mean afterwards", again.mean, 1000 * fleetMost},
		{"requests that wait, by the kubelet's", ordinary.waited, kubelet["ordinary"].waited / 2},
		{"peak at expiry", ordinary.peak, start.peak / 2},
		{"peak at expiry afterwards", again.peak, start.peak / 2},
		{"reviews in the outage, by requests", got["outage, refused"].mean, got["outage, refused"].asked},
		{"reviews in trouble, by requests", failing.mean, failing.asked},
		{"reviews in trouble, by the kubelet's", failing.mean, kubelet["outage, 500"].mean / 3},
		{"peak in trouble, by the kubelet's", failing.peak, kubelet["outage, 500"].peak / 3},
		{"peak at recovery, by the kubelet's", recovery.peak, kubelet["recovery"].peak / 1.5},
		{"requests that failed", start.failed + ordinary.failed + got["after the restart"].failed + recovery.failed + again.failed, 0},
	} {
		if bound.got > bound.most {
			t.Errorf("%s: %.1f, more than %.1f", bound.name, bound.got, bound.most)
		}
	}
	if kubelet["outage, 500"].mean < failing.asked {
		t.Error("the kubelet's retries do not show")
	}
	if nodes == 1000 {
		checkFigures(t, got, kubelet)
	}
}
