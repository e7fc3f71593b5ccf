package apiservertest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

func TestCallers(t *testing.T) {
	s, c := start(t)
	s.SetToken("jane-token", authn.UserInfo{Username: "jane"})
	c.post(t, tokenPath, janesToken).want(t, 201, `"username":"jane"`)

	s.SetClientTokens("renewed") // our own credential expires
	const unauthorized = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}` + "\n"
	c.post(t, tokenPath, janesToken).want(t, 401, unauthorized)
	c.post(t, accessPath, janesAccess).want(t, 401, unauthorized)
	c.token = "renewed"
	c.post(t, tokenPath, janesToken).want(t, 201, `"username":"jane"`)
	c.token = ""
	c.post(t, tokenPath, janesToken).want(t, 401, unauthorized)
	c.post(t, "/nowhere", janesToken).want(t, 401, unauthorized)
	s.SetClientTokens()
	c.token = "renewed"
	c.post(t, tokenPath, janesToken).want(t, 401, unauthorized)
}

func TestCallersWithCertificates(t *testing.T) {
	s, _ := start(t)
	s.SetToken("jane-token", authn.UserInfo{Username: "jane"})
	ca, foreign := apiservertest.MustNewCA(t, "clients"), apiservertest.MustNewCA(t, "clients")
	good := apiservertest.Certificate{CommonName: "node"}
	post := func(cert tls.Certificate) answer {
		c := newClient(t, s, true, cert)
		c.token = ""
		return c.post(t, tokenPath, janesToken)
	}
	post(ca.MustIssue(t, good)).want(t, 401, "Unauthorized")
	s.SetClientCA(ca.Pool())
	post(ca.MustIssue(t, good)).want(t, 201, "jane")
	post(foreign.MustIssue(t, good)).want(t, 401, "Unauthorized")
	post(ca.MustIssue(t, apiservertest.Certificate{CommonName: "node", NotAfter: time.Now().Add(-time.Minute)})).want(t, 401, "Unauthorized")
	s.SetClientCA(nil)
	post(ca.MustIssue(t, good)).want(t, 401, "Unauthorized")
}

func TestJournal(t *testing.T) {
	s, c := start(t)
	c.post(t, tokenPath, janesToken)
	r := c.request(t, "POST", accessPath, janesAccess)
	r.Header.Set("User-Agent", "kubelet/v1")
	c.do(r)
	c.post(t, accessBeta, "{")
	for resource, want := range map[string]int{
		apiservertest.TokenReviews: 1, "tokenreviews/v1": 1, "tokenreviews/v1beta1": 0,
		apiservertest.SubjectAccessReviews: 2, "subjectaccessreviews/v1": 1, "subjectaccessreviews/v1beta1": 1,
	} {
		if got := s.Count(resource); got != want {
			t.Errorf("%d requests for %s, want %d", got, resource, want)
		}
	}
	reviews := s.Reviews()
	if len(reviews) != 2 || reviews[0].Token.Token != "jane-token" || reviews[0].Access != nil ||
		reviews[1].Access.User != "jane" || reviews[1].UserAgent != "kubelet/v1" || reviews[1].Protocol != "HTTP/2.0" ||
		reviews[1].Version != "v1" || reviews[1].Resource != "subjectaccessreviews" || reviews[1].Time.Before(reviews[0].Time) {
		t.Errorf("unexpected reviews %+v", reviews)
	}
	if now, most := s.InFlight(); now != 0 || most != 1 {
		t.Errorf("%d in flight, at most %d; want 0 and 1", now, most)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic on an unknown resource")
		}
	}()
	s.Count("pods")
}

func TestJournalIsBounded(t *testing.T) {
	s, err := apiservertest.New(apiservertest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_005 {
		body := strings.Replace(janesToken, "jane-token", strings.Repeat("x", i+1), 1)
		if i < 10_000 {
			body = janesToken
		}
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", tokenPath, strings.NewReader(body)))
	}
	reviews := s.Reviews()
	if len(reviews) != 10_000 || reviews[0].Token.Token != "jane-token" || len(reviews[9_999].Token.Token) != 10_005 {
		t.Errorf("%d reviews, the last one's token is %d bytes long", len(reviews), len(reviews[len(reviews)-1].Token.Token))
	}
	if got := s.Count("tokenreviews"); got != 10_005 {
		t.Errorf("counted %d", got)
	}
}

func TestInFlight(t *testing.T) {
	s, c := start(t)
	release := make(chan struct{})
	s.Inject("tokenreviews", apiservertest.Fault{Hang: release})
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() { c.post(t, tokenPath, janesToken).want(t, 201, "invalid bearer token") })
	}
	eventually(t, func() bool { now, _ := s.InFlight(); return now == 20 })
	close(release)
	clients.Wait()
	eventually(t, func() bool { now, most := s.InFlight(); return now == 0 && most == 20 })
}

func TestRestart(t *testing.T) {
	s, c := start(t)
	s.SetToken("jane-token", authn.UserInfo{Username: "jane"})
	for range 3 {
		c.post(t, tokenPath, janesToken).want(t, 201, "jane")
		if err := s.Restart(); err != nil {
			t.Errorf("restarting a server that runs: %v", err)
		}
		s.Stop()
		s.Stop()
		c = newClient(t, s, true) // the old one may not have noticed yet
		if got := c.post(t, tokenPath, janesToken); !errors.Is(got.err, syscall.ECONNREFUSED) {
			t.Errorf("stopped: error %v, want a refused connection", got.err)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s.Close()
	if err := s.Restart(); err == nil {
		t.Error("a closed server was started")
	}
}

// Nobody else gets the port of a server that is stopped.
func TestStopHoldsThePort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	s, _ := start(t)
	s.Stop()
	address := strings.TrimPrefix(s.URL, "https://")
	for range 40_000 { // more than there are free ports
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		if listener.Addr().String() == address {
			t.Fatalf("another listens on %s", address)
		}
	}
}

func TestStopCutsWhatHangs(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := apiservertest.MustStart(t, apiservertest.Config{})
		c := newClient(t, s, http2)
		s.Inject("tokenreviews", apiservertest.Fault{Hang: make(chan struct{})})
		s.Inject("subjectaccessreviews", apiservertest.Fault{Latency: time.Hour})
		answers := make(chan answer)
		go func() { answers <- c.post(t, tokenPath, janesToken) }()
		go func() { answers <- c.post(t, accessPath, janesAccess) }()
		eventually(t, func() bool { now, _ := s.InFlight(); return now == 2 })
		s.Stop()
		for range 2 {
			if got := <-answers; got.err == nil {
				t.Errorf("HTTP/2 %v: got %d from a server that was stopped", http2, got.code)
			}
		}
	}
}

func TestClientThatLeaves(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := apiservertest.MustStart(t, apiservertest.Config{})
		c := newClient(t, s, http2)
		s.Inject("tokenreviews", apiservertest.Fault{Hang: make(chan struct{})})
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan answer)
		go func() { done <- c.do(c.request(t, "POST", tokenPath, janesToken).WithContext(ctx)) }()
		eventually(t, func() bool { now, _ := s.InFlight(); return now == 1 })
		leave()
		<-done
		eventually(t, func() bool { now, _ := s.InFlight(); return now == 0 })
	}
}

func TestAddressTaken(t *testing.T) {
	s, _ := start(t)
	if _, err := apiservertest.Start(apiservertest.Config{Addr: strings.TrimPrefix(s.URL, "https://")}); err == nil {
		t.Error("two servers on one address")
	}
}

func TestProtocols(t *testing.T) {
	s, _ := start(t)
	for http2, want := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		if got := newClient(t, s, http2).get(t, "/readyz"); got.proto != want {
			t.Errorf("got %s, want %s", got.proto, want)
		}
	}
}

func TestSetCertificate(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "before")
	s := apiservertest.MustStart(t, apiservertest.Config{CA: ca})
	c := newClient(t, s, true)
	c.get(t, "/readyz").want(t, 200, "ok")
	s.SetCertificate(apiservertest.MustNewCA(t, "after").MustIssue(t, apiservertest.Certificate{
		IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))
	c.get(t, "/readyz").want(t, 200, "ok") // on the old connection
	if got := newClient(t, s, true).get(t, "/readyz"); !errors.As(got.err, new(*tls.CertificateVerificationError)) {
		t.Errorf("error %v, want a certificate that is not trusted", got.err)
	}
}

// TestNoGoroutineStays runs every way in which a connection can end.
func TestNoGoroutineStays(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, http2 := range []bool{false, true} {
		s, err := apiservertest.Start(apiservertest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		s.Inject("tokenreviews", apiservertest.Fault{Hang: make(chan struct{})})
		s.Inject("tokenreviews/v1beta1", apiservertest.Fault{Times: 1, Break: apiservertest.BreakReset}, apiservertest.Fault{Break: apiservertest.BreakClose})
		s.Inject("subjectaccessreviews", apiservertest.Fault{SlowBytes: time.Hour})
		var clients sync.WaitGroup
		for range 10 {
			for _, path := range []string{tokenPath, tokenBeta, accessPath} {
				own := newClient(t, s, http2) // a broken connection takes all with it
				clients.Go(func() { own.post(t, path, strings.ReplaceAll(janesToken, "/v1", "/v1beta1")) })
			}
		}
		clients.Go(func() { newClient(t, s, http2).get(t, "/readyz") }) // stays idle
		raw, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close() // never shakes hands
		eventually(t, func() bool { now, _ := s.InFlight(); return now >= 10 && s.Count("tokenreviews/v1beta1") >= 10 })
		s.Close()
		clients.Wait()
	}
	eventually(t, func() bool { return runtime.NumGoroutine() <= before })
}

func TestConcurrentUse(t *testing.T) {
	s, c := start(t)
	var all sync.WaitGroup
	repeat := func(f func()) {
		all.Go(func() {
			for range 20 {
				f()
			}
		})
	}
	repeat(func() { c.post(t, tokenPath, janesToken) })
	repeat(func() { c.post(t, accessBeta, strings.Replace(janesAccess, "/v1", "/v1beta1", 1)) })
	repeat(func() {
		s.SetToken("jane-token", authn.UserInfo{Username: "jane"})
		s.RevokeToken("jane-token")
		s.SetRefusal("x")
	})
	repeat(func() { s.AllowUser("jane", "get", "metrics"); s.SetRules(); s.SetDecide(nil) })
	repeat(func() { s.Inject("tokenreviews", apiservertest.Fault{Times: 2, Status: 500}); s.Inject("tokenreviews") })
	repeat(func() { s.Reviews(); s.Count("tokenreviews"); s.InFlight() })
	repeat(func() {
		s.SetClientTokens("x")
		s.SetClientTokens(s.ClientToken())
		s.SetClientCA(s.CA.Pool())
		s.Kubeconfig("")
	})
	repeat(func() { s.Stop(); s.Restart() })
	all.Wait()
}

func TestKubeconfig(t *testing.T) {
	s, _ := start(t)
	mustContain := func(config []byte, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !bytes.Contains(config, []byte(text)) {
				t.Errorf("no %q in\n%s", text, config)
			}
		}
	}
	mustContain(s.Kubeconfig(""), "apiVersion: v1\nkind: Config\n", "    server: "+s.URL+"\n",
		"    token: \""+s.ClientToken()+"\"\ncontexts:\n", "current-context: apiservertest\n", "    certificate-authority-data: LS0t")
	mustContain(s.Kubeconfig("a\"b\n"), `    token: "a\"b\n"`+"\n")
	mustContain(s.KubeconfigWithCertificate(s.CA.MustIssue(t, apiservertest.Certificate{CommonName: "x"})),
		"    client-certificate-data: LS0t", "    client-key-data: LS0t")
}

// TestSyntheticTime shows that nothing needs a network or a real clock.
func TestSyntheticTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := apiservertest.New(apiservertest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		s.Inject("tokenreviews", apiservertest.Fault{Latency: time.Hour})
		began, w := time.Now(), httptest.NewRecorder()
		r := httptest.NewRequest("POST", tokenPath, strings.NewReader(janesToken))
		r.Header.Set("Authorization", "Bearer "+s.ClientToken())
		s.ServeHTTP(w, r)
		if w.Code != 201 || time.Since(began) != time.Hour {
			t.Errorf("got %d after %v", w.Code, time.Since(began))
		}
		if !s.Reviews()[0].Time.Equal(began) {
			t.Errorf("reviewed at %v, not %v", s.Reviews()[0].Time, began)
		}
		cert := s.CA.MustIssue(t, apiservertest.Certificate{CommonName: "jane"})
		if want := began.Add(25 * time.Hour); !cert.Leaf.NotAfter.Equal(want) {
			t.Errorf("expires at %v, not %v", cert.Leaf.NotAfter, want)
		}
	})
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for range 1000 {
		if condition() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Fatalf("never came true; goroutines:\n%s", stacks[:runtime.Stack(stacks, true)])
}

var _ http.Handler = (*apiservertest.Server)(nil)
