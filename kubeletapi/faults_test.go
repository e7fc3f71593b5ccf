package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

// apiFault is a way for the API server to fail, and what has to come of it.
type apiFault struct {
	name   string
	inject apiservertest.Fault
	begin  func(*faultCell) // in place of inject
	end    func(*faultCell)
	kube   string // fields of the kubeconfig's user, in place of a token

	reviews int    // most requests to the API server for one question
	quick   bool   // no waiting for what will not come
	code    string // the metric's, if not of inject
	log     string // what the log says
	down    bool   // the API server is in trouble: answers may be used beyond their TTL
	heals   bool   // a review comes through all the same
	pause   bool   // recovery may take a second
}

const ourName = "apiservertest-client"

// apiFaults are those of an API server and of the way to it.
func apiFaults() []apiFault {
	type fault = apiservertest.Fault
	inject := func(f fault) func(*faultCell) { return func(c *faultCell) { c.api.Inject(c.resource, f) } }
	return []apiFault{
		{name: "refused connection", begin: (*faultCell).stop, end: (*faultCell).restart, quick: true, code: "<error>", log: "(connection refused|EOF|connection reset)", down: true},
		{name: "hang", inject: fault{Hang: make(chan struct{})}, reviews: 1, code: "<error>", log: "(context deadline exceeded|connection lost)", down: true},
		{name: "reset", inject: fault{Break: apiservertest.BreakReset}, reviews: 5, code: "201", log: "(connection reset|EOF)", down: true},
		{name: "reset stream", inject: fault{Break: apiservertest.BreakStream}, reviews: 1, quick: true, code: "201", log: "stream error", down: true},
		{name: "close", inject: fault{Break: apiservertest.BreakClose}, reviews: 5, code: "<error>", log: "(connection reset|EOF|http2:)", down: true},
		{name: "slow bytes", inject: fault{SlowBytes: 200 * time.Millisecond}, reviews: 1, code: "201", log: "(context deadline exceeded|connection lost)", down: true},
		{name: "TLS error", begin: (*faultCell).presentOther, end: (*faultCell).presentOwn, quick: true, code: "<error>", log: "certificate-authority in the kubeconfig"},
		{name: "silence", begin: func(c *faultCell) { c.api.SetSilent(true) }, end: func(c *faultCell) { c.api.SetSilent(false) }, code: "<error>", log: "http2: client connection lost", down: true},
		{name: "silent connection", begin: func(c *faultCell) { c.api.SetSilent(true); c.api.SetSilent(false) }, end: func(*faultCell) {}, reviews: 1, code: "<error>", heals: true},
		{name: "token expired", begin: (*faultCell).forgetUs, end: (*faultCell).knowUs, reviews: 1, quick: true, code: "401", log: "401 .Unauthorized.*hint="},
		{name: "token file expired", kube: "tokenFile: token", begin: (*faultCell).forgetUs, end: (*faultCell).knowUs, reviews: 1, quick: true, code: "401", log: "401 .Unauthorized"},
		{name: "plugin's token expired", kube: pluginOfFaults, begin: (*faultCell).forgetUs, end: (*faultCell).knowUs, reviews: 2, quick: true, code: "401", log: "401 .Unauthorized", pause: true},
		{name: "plugin hangs", kube: slowPluginOfFaults, begin: (*faultCell).forgetUs, end: (*faultCell).knowUs, reviews: 1, code: "401", log: `401 .Unauthorized.*waiting for credential plugin .*sh.*: context deadline exceeded`, pause: true},
		{name: "403", inject: fault{Status: 403}, reviews: 1, quick: true, log: `403 .Forbidden.*grant=.*kind: ClusterRoleBinding.*name: '` + ourName + `'.*hint=.*ClusterRoleBinding to the ClusterRole system:auth-delegator`},
		{name: "404", inject: fault{Status: 404}, reviews: 2, quick: true, log: "knows neither"},
		{name: "409", inject: fault{Status: 409}, reviews: 1, quick: true, log: "409"},
		{name: "429", inject: fault{Status: 429}, reviews: 5, log: "429"},
		{name: "429, Retry-After 1", inject: fault{Status: 429, RetryAfter: 1}, reviews: 11, log: "429"},
		{name: "429, Retry-After 60", inject: fault{Status: 429, RetryAfter: 60}, reviews: 1, quick: true, log: "429"},
		{name: "500", inject: fault{Status: 500}, reviews: 5, log: "500", down: true},
		{name: "503", inject: fault{Status: 503}, reviews: 1, quick: true, log: "503", down: true},
		{name: "503, Retry-After 1", inject: fault{Status: 503, RetryAfter: 1}, reviews: 11, log: "503", down: true},
		{name: "503, Retry-After 60", inject: fault{Status: 503, RetryAfter: 60}, reviews: 1, quick: true, log: "503", down: true},
		{name: "504", inject: fault{Status: 504}, reviews: 5, log: "504", down: true},
		{name: "redirect", begin: func(c *faultCell) { inject(fault{Redirect: c.elsewhere.URL})(c) }, end: inject(fault{Times: 1}), reviews: 1, quick: true, code: "307", log: "redirect"},
		{name: "too large", inject: fault{Break: apiservertest.BreakOversize}, reviews: 1, quick: true, code: "201", log: "larger than 1048576 bytes"},
		{name: "truncated", inject: fault{Break: apiservertest.BreakTruncate}, reviews: 1, quick: true, code: "201", log: "JSON"},
		{name: "another kind", inject: fault{Break: apiservertest.BreakKind}, reviews: 1, quick: true, code: "201", log: "PodList"},
		{name: "empty", inject: fault{Break: apiservertest.BreakEmpty}, reviews: 1, quick: true, code: "201", log: "0-length"},
		{name: "not JSON", inject: fault{Body: "<html>"}, reviews: 1, quick: true, code: "201", log: "invalid character"},
		{name: "contradictory", inject: fault{Break: apiservertest.BreakContradict}, reviews: 1, quick: true, code: "201", log: "(both allow|without a user name)"},
	}
}

// faultCell is a caller, a server, and an API server that fails for one of the
// two reviews.
type faultCell struct {
	*testing.T
	apiFault
	resource string // that fails
	state    string // of the answer when it does: hot, expired, unknown, stale for expired with --*-stale-if-error, or busy

	api       *apiservertest.Server
	elsewhere *httptest.Server // where a redirect leads
	misled    atomic.Int64
	folder    string
	written   lockedBuffer
	recovery  time.Duration
	wrong     []string
	event     atomic.Pointer[Event]
	auth      *Auth
	caller    *http.Request
	handler   http.Handler
}

const (
	janesSecret = "janes-SECRET-token"
	shortTTL    = time.Second
	busyTTL     = 8 * time.Second
)

// prepare brings the cell to where the API server begins to fail.
func (c *faultCell) prepare(callers *apiservertest.CA, jane tls.Certificate) {
	c.api = apiservertest.MustStart(c, apiservertest.Config{})
	c.api.SetToken(janesSecret, authn.UserInfo{Username: "jane"})
	c.api.AllowUser("jane", "get", "metrics")
	c.elsewhere = httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { c.misled.Add(1) }))
	c.Cleanup(c.elsewhere.Close)
	c.folder = c.TempDir()
	c.writeToken(c.api.ClientToken())
	kubeconfig := c.api.Kubeconfig("")
	if c.kube != "" {
		user := strings.Replace(c.kube, "FOLDER", c.folder, 1)
		kubeconfig = regexp.MustCompile(`token: .*`).ReplaceAllLiteral(kubeconfig, []byte(user))
	}
	cfg := Config{
		Kubeconfig: c.write("kubeconfig", kubeconfig), ClientCAFile: c.write("ca.crt", callers.PEM()), HostnameOverride: "n1",
		AuthenticationTokenWebhook: true, AuthorizationMode: ModeWebhook, EventLogger: c,
		Logger: slog.New(slog.NewTextHandler(&c.written, nil)),
	}
	ttl := map[string]time.Duration{"expired": shortTTL, "stale": shortTTL, "busy": busyTTL}[c.state]
	if c.resource == apiservertest.TokenReviews {
		cfg.AuthenticationTokenWebhookCacheTTL = ttl
	} else {
		cfg.AuthorizationWebhookCacheAuthorizedTTL = ttl
	}
	if c.state == "stale" {
		cfg.AuthenticationStaleIfError, cfg.AuthorizationStaleIfError = time.Hour, time.Hour
	}
	c.start(cfg, jane)
	if c.state != "unknown" && c.state != "busy" {
		if code, body, _ := c.ask(); code != 200 {
			c.Errorf("at first %d %q: %s", code, body, c.written.String())
		}
	}
}

// start makes the server, and a connection to its API server.
func (c *faultCell) start(cfg Config, jane tls.Certificate) {
	var err error
	if c.auth, err = New(cfg); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(c.auth.Close)
	c.handler = c.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "passed") }))
	c.caller = httptest.NewRequest("GET", "/metrics", nil)
	if c.resource == apiservertest.TokenReviews {
		c.caller.Header.Set("Authorization", "Bearer "+janesSecret)
	} else {
		c.caller.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{jane.Leaf}}
	}
	if err := c.auth.CheckAPIServer(c.Context()); err != nil {
		c.Errorf("at first: %v", err)
	}
}

func (c *faultCell) LogEvent(e Event) bool {
	c.event.Store(&e)
	return true
}

func (c *faultCell) write(name string, content []byte) string {
	path := filepath.Join(c.folder, name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		c.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		c.Fatal(err)
	}
	return path
}

// ask is one request of the caller.
func (c *faultCell) ask() (code int, body string, took time.Duration) {
	r := c.caller.Clone(c.Context())
	w := httptest.NewRecorder()
	start := time.Now()
	c.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String(), time.Since(start)
}

func (c *faultCell) fail() {
	if c.begin != nil {
		c.begin(c)
	} else {
		c.api.Inject(c.resource, c.inject)
	}
}

func (c *faultCell) recover() {
	if c.end != nil {
		c.end(c)
	} else {
		c.api.Inject(c.resource)
	}
}

func (c *faultCell) stop() { c.api.Stop() }

// restart waits while somebody else's connection has the port.
func (c *faultCell) restart() {
	for err := c.api.Restart(); err != nil; err = c.api.Restart() {
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *faultCell) presentOther() {
	other := apiservertest.MustNewCA(c, "other")
	c.present(other)
}

func (c *faultCell) presentOwn() { c.present(c.api.CA) }

// present has the API server show a certificate of ca to whoever connects from now on.
func (c *faultCell) present(ca *apiservertest.CA) {
	c.stop()
	c.api.SetCertificate(ca.MustIssue(c, apiservertest.Certificate{CommonName: "api", DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))
	c.restart()
	c.auth.client.Version(c.Context()) // or a review may be the first to find out that its connection is gone
}

// forgetUs leaves a plugin nothing to read, and one of the two waits for it.
func (c *faultCell) forgetUs() {
	c.api.SetClientTokens()
	if c.kube == slowPluginOfFaults {
		os.Remove(filepath.Join(c.folder, "credential"))
	}
}

// knowUs renews the credential, where that can be.
func (c *faultCell) knowUs() {
	if c.kube == "" {
		c.api.SetClientTokens(c.api.ClientToken())
		return
	}
	c.api.SetClientTokens("renewed-SECRET-token")
	c.writeToken("renewed-SECRET-token")
}

// These are credential plugins that any Unix has.
const (
	pluginOfFaults     = `exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: cat, args: [FOLDER/credential]}`
	slowPluginOfFaults = `exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, args: [-c, "until cat FOLDER/credential; do sleep 1; done"]}`
)

// writeToken makes a token the one of a token file and of a plugin.
func (c *faultCell) writeToken(token string) {
	c.write("token", []byte(token))
	c.write("credential", fmt.Appendf(nil, `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":%q}}`, token))
}

// refusal is what the caller gets when there is no answer.
func (c *faultCell) refusal() (code int, body string) {
	if c.resource == apiservertest.TokenReviews {
		return 401, "Unauthorized"
	}
	return 500, "Authorization error (user=jane, verb=get, resource=nodes, subresource=metrics)"
}

// remembered reports whether jane would be let in, or refused, without a review.
func (c *faultCell) remembered() bool {
	now := time.Now()
	if c.resource == apiservertest.TokenReviews {
		_, _, known := c.auth.identities.remembered(c.auth.identities.keys.Token(janesSecret), now)
		return known
	}
	id, ok := c.auth.identities.byCertificate.Get(c.auth.identities.keys.Chain(c.caller.TLS.PeerCertificates), now)
	q := c.auth.question(c.caller)
	d := id.decisions.get(q.place)
	return ok && d != nil && d.inForce(now)
}

// nameless reports whether a token is refused, which is remembered.
func (c *faultCell) nameless() bool {
	return c.name == "contradictory" && c.resource == apiservertest.TokenReviews
}

// check is one request while the API server fails, and one after it.
func (c *faultCell) check() {
	for c.state != "hot" && c.state != "unknown" && c.remembered() {
		time.Sleep(10 * time.Millisecond)
	}
	c.fail()
	before := c.api.Count(c.resource)
	code, body, took := c.ask()
	sent := c.api.Count(c.resource) - before

	wantCode, wantBody := c.refusal()
	stale := c.state == "stale" && c.down
	if c.state == "hot" || c.heals || stale {
		wantCode, wantBody = 200, "passed"
	}
	if code != wantCode || body != wantBody {
		c.Errorf("%d %q, want %d %q; %s", code, body, wantCode, wantBody, c.written.String())
	}
	most := reviewTimeout + 20*time.Second // what a busy machine adds
	if c.state == "hot" {
		c.reviews = 0
	}
	if c.state == "hot" || c.quick {
		most = reviewTimeout
	}
	if sent > c.reviews || c.state != "hot" && c.reviews > 0 && sent == 0 {
		c.Errorf("%d reviews, want %d at most", sent, c.reviews)
	}
	if took > most {
		c.Errorf("took %v, want %v at most", took, most)
	}
	c.checkTraces(stale)

	if kept := c.state == "hot" || c.heals || stale || c.nameless(); c.remembered() != kept {
		c.Errorf("remembered: %v, want %v", !kept, kept)
	}
	c.recover()
	if !c.nameless() || c.state == "hot" {
		c.checkRecovery()
	}
	if c.misled.Load() > 0 {
		c.Errorf("something followed the redirect")
	}
}

// busy asks all the time while the API server fails. The answer in force is
// enough until its end, while it is renewed in vain, and not a moment longer.
func (c *faultCell) busy() {
	begun := time.Now()
	code, body, _ := c.ask()
	certain, last := begun.Add(busyTTL), time.Now().Add(busyTTL) // between these two it ends
	if code != 200 {
		c.Errorf("at first %d %q: %s", code, body, c.written.String())
	}
	c.fail()
	before, late := c.api.Count(c.resource), 0
	for start := time.Now(); start.Before(last); start = time.Now() {
		code, body, took := c.ask()
		if code != 200 && start.Add(took).Before(certain) {
			c.Errorf("%d %q, %v before the end", code, body, time.Until(certain))
		}
		if start.Add(took).After(certain) {
			late++
		}
		if took >= reviewTimeout && certain.Sub(start) > busyTTL/16 {
			c.Errorf("waited %v for a renewal", took)
		}
		time.Sleep(busyTTL / 40)
	}
	if code, body, _ := c.ask(); (code == 200) != c.heals {
		c.Errorf("after the end %d %q", code, body)
	}
	if sent := c.api.Count(c.resource) - before; sent > (2+late)*c.reviews {
		c.Errorf("%d reviews, want %d at most", sent, (2+late)*c.reviews)
	}
	c.recover()
	c.checkRecovery()
}

// checkTraces looks at the log, the metrics and the decision log.
func (c *faultCell) checkTraces(stale bool) {
	var metrics strings.Builder
	c.auth.WriteMetrics(&metrics)
	name, word, event := "authn", "authenticator", c.event.Load().Authentication
	if c.resource == apiservertest.SubjectAccessReviews {
		name, word, event = "authz", "authorizer", c.event.Load().Authorization
	}
	log := c.written.String()
	if strings.Contains(log+metrics.String(), "SECRET") || strings.Contains(log, c.api.ClientToken()) {
		c.Errorf("a token shows: %s%s", log, &metrics)
	}
	if c.state == "hot" {
		if event != "cached" || strings.Contains(log, "level=ERROR") {
			c.Errorf("%q in the decision log, and in the log %s", event, log)
		}
		return
	}
	code := c.code
	if code == "" {
		code = fmt.Sprint(c.inject.Status)
	}
	if metric := fmt.Sprintf("apiserver_delegated_%s_request_total{code=%q} ", name, code); !strings.Contains(metrics.String(), metric) {
		c.Errorf("no %s in %s", metric, &metrics)
	}
	if c.heals {
		return
	}
	if used := fmt.Sprintf("kubeletauth_stale_answers_total{resource=%q} 1", c.resource); strings.Contains(metrics.String(), used) != stale {
		c.Errorf("%s: %v, want %v", used, !stale, stale)
	}
	if stale {
		if event != "stale" || !strings.Contains(log, "level=WARN") || !strings.Contains(log, "stays in force") || !regexp.MustCompile(c.log).MatchString(log) {
			c.Errorf("%q in the decision log, and in the log %s", event, log)
		}
		return
	}
	refused, _ := c.refusal()
	if refusals := fmt.Sprintf("kubeletauth_refused_requests_total{code=\"%d\"} 1", refused); !strings.Contains(metrics.String(), refusals) {
		c.Errorf("no %s in %s", refusals, &metrics)
	}
	if !regexp.MustCompile(c.log).MatchString(log) || !strings.Contains(log, "webhook "+word) && !strings.Contains(log, "without a user name") {
		c.Errorf("the log does not say %q: %s", c.log, log)
	}
	if e := c.event.Load(); e.Status != refused || e.Error == "" || e.Decision == "allow" {
		text, _ := json.Marshal(e)
		c.Errorf("in the decision log: %s", text)
	}
}

// checkRecovery has the first request pass after the API server's return, unless
// there is a pause, or there were so many before that one has to wait a moment.
func (c *faultCell) checkRecovery() {
	start := time.Now()
	code, body, _ := c.ask()
	for (c.pause || c.state == "busy") && code != 200 && time.Since(start) < reviewTimeout {
		time.Sleep(50 * time.Millisecond)
		code, body, _ = c.ask()
	}
	if code != 200 {
		c.Errorf("after the return %d %q; %s", code, body, c.written.String())
	}
	if c.recovery = time.Since(start); c.recovery > reviewTimeout/2 { // a second, and what a busy machine adds
		c.Errorf("recovered after %v", c.recovery)
	}
}

// lockedBuffer is a log that is written and read concurrently.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Errorf notes what went wrong, until it is known whether that is to be believed.
func (c *faultCell) Errorf(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// run is the life of a cell. Where the machine stood still meanwhile, a failure
// says nothing about a server with limits of some seconds, and there is another
// try.
func (c *faultCell) run(t *testing.T, callers *apiservertest.CA, jane tls.Certificate, stalls *stalls) (recovery time.Duration) {
	const tries = 5
	for try := 1; ; try++ {
		next := &faultCell{T: t, apiFault: c.apiFault, resource: c.resource, state: c.state}
		before := stalls.Load()
		next.prepare(callers, jane)
		if next.state == "busy" {
			next.busy()
		} else {
			next.check()
		}
		if len(next.wrong) == 0 {
			return next.recovery
		}
		if try == tries || stalls.Load() == before {
			t.Errorf("%s", strings.Join(next.wrong, "\n"))
			return 0
		}
	}
}

// stalls counts how often this process got no turn for half a second.
type stalls struct{ atomic.Int64 }

func (s *stalls) watch(ctx context.Context) {
	for last := time.Now(); ctx.Err() == nil; {
		time.Sleep(20 * time.Millisecond)
		now := time.Now()
		if now.Sub(last) > 500*time.Millisecond {
			s.Add(1)
		}
		last = now
	}
}

// Nothing that failed is allowed; whoever has an answer notices nothing; and the
// first request after the API server's return passes. All faults are tried at
// once, in each of the reviews and for each state, for most of that is waiting.
func TestAPIServerFails(t *testing.T) {
	t.Parallel()
	callers := apiservertest.MustNewCA(t, "client-ca")
	jane := callers.MustIssue(t, apiservertest.Certificate{CommonName: "jane", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	var stalls stalls
	var running, watching sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	watching.Go(func() { stalls.watch(ctx) })
	var mu sync.Mutex
	var slowest time.Duration
	var where string
	cells := 0
	for _, fault := range apiFaults() {
		for _, resource := range []string{apiservertest.TokenReviews, apiservertest.SubjectAccessReviews} {
			for _, state := range []string{"hot", "expired", "unknown", "stale", "busy"} {
				c := &faultCell{apiFault: fault, resource: resource, state: state}
				if strings.Contains(c.kube, "exec") && runtime.GOOS == "windows" || c.nameless() && state == "busy" { // for that is an answer
					continue
				}
				cells++
				running.Go(func() {
					t.Run(c.name+"/"+c.resource+"/"+c.state, func(t *testing.T) {
						recovery := c.run(t, callers, jane, &stalls)
						mu.Lock()
						defer mu.Unlock()
						if recovery > slowest {
							slowest, where = recovery, t.Name()
						}
					})
				})
			}
		}
	}
	running.Wait()
	stop()
	watching.Wait()
	t.Logf("%d cells; the longest recovery took %v (%s); %d stalls", cells, slowest, where, stalls.Load())
}
