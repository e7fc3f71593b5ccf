package kubeletapi_test

import (
	"bufio"
	"context"
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
)

func readBody(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestEndpoints(t *testing.T) {
	w := newWorld(t)
	w.cfg.AuthenticationTokenWebhookCacheTTL = time.Minute
	w.api.AllowUser("jane", "get", "*")
	w.start()
	client, jane := w.client("HTTP/2.0", nil), "Bearer "+goodToken
	if body := w.want(200, client, "/healthz", jane); body != "ok" {
		t.Errorf("healthz: %q", body)
	}
	var configz struct {
		Config struct {
			Authentication struct {
				X509    struct{ ClientCAFile string }
				Webhook struct{ CacheTTL string }
			}
			Authorization struct{ Mode string }
		} `json:"kubeletconfig"`
	}
	body := w.want(200, client, "/configz", jane)
	if err := json.Unmarshal([]byte(body), &configz); err != nil {
		t.Fatal(err)
	}
	if c := configz.Config; c.Authorization.Mode != "Webhook" || c.Authentication.X509.ClientCAFile != w.cfg.ClientCAFile || c.Authentication.Webhook.CacheTTL != "1m0s" {
		t.Errorf("configz: %s", body)
	}
	w.want(404, client, "/nothing", jane)
	w.want(401, client, "/nothing", "Bearer garbage-token")
	metrics := w.want(200, client, "/metrics", jane)
	for _, line := range []string{
		`kubelet_http_requests_total{method="GET",path="healthz",server_type="readwrite",long_running="false"} 1`,
		`kubelet_http_requests_total{method="GET",path="other",server_type="readwrite",long_running="false"} 2`,
		`kubelet_http_inflight_requests{method="GET",path="metrics",server_type="readwrite",long_running="false"} 1`,
		`authentication_token_cache_request_total{status="hit"} 3`,
		`authentication_token_cache_request_total{status="miss"} 2`,
		`authentication_token_cache_fetch_total{status="ok"} 1`,
		`authentication_token_cache_fetch_total{status="error"} 1`,
		`authentication_token_cache_active_fetch_count{status="in_flight"} 0`,
		`apiserver_delegated_authn_request_total{code="201"} 2`,
		`apiserver_delegated_authz_request_total{code="201"} 2`,
		`apiserver_client_certificate_expiration_seconds_count 0`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
	if strings.Contains(metrics+body, goodToken) {
		t.Error("there is a token in /metrics or /configz")
	}
	if t.Failed() {
		t.Log(metrics)
	}
}

// A caller whom the API server cannot be asked about gets 401 where it reviews
// the token, and 500 where it reviews the access; and it is asked again.
func TestAPIServerDown(t *testing.T) {
	w := newWorld(t)
	w.api.AllowUser("jane", "get", "*")
	w.api.Stop()
	w.start() // the API server is down, and may come up later
	client := w.client("HTTP/2.0", nil)
	if body := w.want(401, client, "/healthz", "Bearer "+goodToken); body != "Unauthorized" {
		t.Errorf("%q", body)
	}
	if err := w.api.Restart(); err != nil {
		t.Fatal(err)
	}
	w.api.Inject("subjectaccessreviews", apiservertest.Fault{Times: 1, Status: 403})
	if body := w.want(500, client, "/healthz", "Bearer "+goodToken); body != "Authorization error (user=jane, verb=get, resource=nodes, subresource=proxy)" {
		t.Errorf("%q", body)
	}
	w.want(200, client, "/healthz", "Bearer "+goodToken)
	if !strings.Contains(w.log.String(), "level=ERROR") {
		t.Error("our failures are not in the log at level error")
	}
}

func TestClientCAChanges(t *testing.T) {
	w := newWorld(t)
	w.cfg.AuthorizationMode = kubeletapi.ModeAlwaysAllow
	w.start()
	other := apiservertest.MustNewCA(t, "client-ca-2")
	pairs := [2]tls.Certificate{w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "old"}), other.MustIssue(t, apiservertest.Certificate{CommonName: "new"})}
	before, after := w.client("HTTP/2.0", &pairs[0]), w.client("HTTP/2.0", &pairs[1])
	w.want(200, before, "/healthz", "")
	w.want(401, after, "/healthz", "")

	w.file("ca.crt", []byte("no certificate"))
	time.Sleep(1100 * time.Millisecond)
	w.want(200, before, "/healthz", "")
	if !strings.Contains(w.log.String(), "client-ca-bundle::") {
		t.Error("the log does not say why the file was not taken over")
	}
	w.file("ca.crt", other.PEM())
	time.Sleep(1100 * time.Millisecond)
	w.want(401, before, "/healthz", "") // on the connection that it came with before
	w.want(200, after, "/healthz", "")
	w.want(200, w.client("HTTP/1.1", &pairs[1]), "/healthz", "")
}

// The authorities that the handshake names are those in force.
func TestClientCAHint(t *testing.T) {
	w := newWorld(t).start()
	for _, withCA := range []bool{true, false} {
		var named [][]byte
		asked := false
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{
			RootCAs: w.ca.Pool(), NextProtos: []string{"h2", "http/1.1"},
			GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked, named = true, info.AcceptableCAs
				return &tls.Certificate{}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		state := conn.ConnectionState()
		conn.Close()
		if asked != withCA || (len(named) == 1) != withCA || state.NegotiatedProtocol != "h2" {
			t.Errorf("client CA %v: asked %v, %d authorities, protocol %s", withCA, asked, len(named), state.NegotiatedProtocol)
		}
		w.stop()
		w.cfg.ClientCAFile = ""
		w.start()
	}
}

func TestServingCertificateChanges(t *testing.T) {
	w := newWorld(t).start()
	serial := func() string {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{RootCAs: w.ca.Pool(), DynamicRecordSizingDisabled: true}) // so that a server has all of a request that it refuses
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	next := w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "node", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: serverAuth})
	w.file("tls.crt", apiservertest.CertPEM(next))
	time.Sleep(1100 * time.Millisecond)
	if serial() != first {
		t.Error("took over a certificate without its key")
	}
	w.file("tls.key", apiservertest.KeyPEM(next))
	time.Sleep(1100 * time.Millisecond)
	if serial() == first {
		t.Error("did not take over the new pair")
	}
}

func TestSelfSigned(t *testing.T) {
	w := newWorld(t)
	w.cfg.TLSCertFile, w.cfg.TLSPrivateKeyFile = "", ""
	dir := filepath.Join(t.TempDir(), "pki")
	kubelets := filepath.Join(dir, "kubelet.crt")
	os.MkdirAll(dir, 0o755)
	os.WriteFile(kubelets, []byte("the kubelet's own"), 0o600)
	leaf := func(dir, host string) *x509.Certificate {
		w.cfg.CertDir, w.cfg.HostnameOverride = dir, host
		w.start()
		defer w.stop()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	memory, kept := leaf("", "node-a"), leaf(dir, "node-a")
	for _, name := range []string{"node-a", "127.0.0.1"} {
		if err := memory.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(memory)
	if _, err := memory.Verify(x509.VerifyOptions{Roots: roots, DNSName: "node-a"}); err != nil {
		t.Error("a client cannot trust it:", err)
	}
	if !kept.Equal(leaf(dir, "node-a")) {
		t.Error("the pair on disk was not used again")
	}
	if renamed := leaf(dir, "node-b"); renamed.Equal(kept) || renamed.VerifyHostname("node-b") != nil {
		t.Error("the pair on disk was used under another name")
	}
	if byIP := leaf("", "10.1.2.3"); byIP.VerifyHostname("10.1.2.3") != nil || len(byIP.DNSNames) != 0 {
		t.Error("a host name that is an address is not an address in the certificate")
	}
	os.WriteFile(filepath.Join(dir, "kubeletauth.crt"), []byte("cut off"), 0o600)
	if leaf(dir, "node-b").VerifyHostname("node-b") != nil {
		t.Error("a broken pair on disk was not replaced")
	}
	if content, _ := os.ReadFile(kubelets); string(content) != "the kubelet's own" {
		t.Error("a file of the kubelet's was touched")
	}
	if info, err := os.Stat(filepath.Join(dir, "kubeletauth.key")); err != nil || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
}

func TestTLSSettingsCount(t *testing.T) {
	w := newWorld(t)
	w.cfg.TLSMinVersion = "VersionTLS12"
	w.cfg.TLSCipherSuites = []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}
	w.cfg.TLSCurvePreferences = []int{int(tls.CurveP384)}
	w.start()
	address := strings.TrimPrefix(w.url, "https://")
	for _, tt := range []struct {
		name   string
		config *tls.Config
		ok     bool
	}{
		{"as set", &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"another suite", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, false},
		{"another curve", &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}}, false},
		{"the curve", &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}}, true},
	} {
		tt.config.RootCAs = w.ca.Pool()
		conn, err := tls.Dial("tcp", address, tt.config)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestDrain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		drain time.Duration
		want  string
	}{{"in time", time.Minute, "whole answer"}, {"too late", 50 * time.Millisecond, ""}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.cfg.AnonymousAuth, w.cfg.AuthorizationMode = true, kubeletapi.ModeAlwaysAllow
			auth, err := kubeletapi.New(w.cfg)
			if err != nil {
				t.Fatal(err)
			}
			started, release := make(chan bool), make(chan bool)
			w.serve(&kubeletapi.Server{Config: w.cfg, Auth: auth, DrainTimeout: tt.drain,
				Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					close(started)
					select {
					case <-release:
						io.WriteString(rw, "whole answer")
					case <-r.Context().Done():
					}
				})})
			got := make(chan string)
			go func() {
				body := ""
				if response, err := w.client("HTTP/1.1", nil).Get(w.url); err == nil {
					content, _ := io.ReadAll(response.Body)
					response.Body.Close()
					body = string(content)
				}
				got <- body
			}()
			<-started
			stopped := make(chan error)
			go func() { stopped <- w.stop() }()
			if tt.want != "" {
				time.Sleep(20 * time.Millisecond)
				close(release)
			}
			if body := <-got; body != tt.want {
				t.Errorf("got %q, want %q", body, tt.want)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
	}
}

// A client cannot hold a connection by being slow, or send a header without end.
func TestSlowAndLargeRequests(t *testing.T) {
	w := newWorld(t)
	auth, err := kubeletapi.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.serve(&kubeletapi.Server{Config: w.cfg, Auth: auth, ReadHeaderTimeout: 200 * time.Millisecond, ReadTimeout: 200 * time.Millisecond, IdleTimeout: 200 * time.Millisecond})
	for name, sent := range map[string]string{
		"half a header": "GET / HTTP/1.1\r\nHost: x\r\n",
		"nothing":       "",
		"idle":          "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"half a body":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			conn := w.dial()
			defer conn.Close()
			io.WriteString(conn, sent)
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
	conn := w.dial()
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 69<<10))
	if line, _ := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, "431") {
		t.Errorf("a long header got %q", line)
	}
}

// Only a request has to be quick, and not its answer.
func TestAnswersAfterTheReadTimeout(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for name, body := range map[string]string{"no body": "", "a body": "hello"} {
			t.Run(proto+", "+name, func(t *testing.T) {
				w := newWorld(t)
				auth, err := kubeletapi.New(w.cfg)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(auth.Close)
				w.api.AllowUser("jane", "create", "proxy")
				w.serve(&kubeletapi.Server{Config: w.cfg, Auth: auth, ReadTimeout: 200 * time.Millisecond, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					got, err := io.ReadAll(r.Body)
					select {
					case <-r.Context().Done():
						t.Error("the context ended before the answer:", context.Cause(r.Context()))
					case <-time.After(500 * time.Millisecond):
					}
					fmt.Fprint(rw, string(got), err)
				})})
				r, _ := http.NewRequest("POST", w.url+"/x", strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+goodToken)
				client := w.client(proto, nil)
				for range 2 { // on one connection
					r.Body = io.NopCloser(strings.NewReader(body))
					res, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					answer, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil || string(answer) != body+"<nil>" {
						t.Errorf("%q, %v", answer, err)
					}
				}
			})
		}
	}
}

func (w *world) dial() *tls.Conn {
	w.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{RootCAs: w.ca.Pool()})
	if err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func TestListenErrorsHaveAHint(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w.cfg.Port = taken.Addr().(*net.TCPAddr).Port
	err = (&kubeletapi.Server{Config: w.cfg}).ListenAndServe(context.Background())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--port") {
		t.Errorf("got %v", err)
	}
}

func TestServerWithoutAuthRefuses(t *testing.T) {
	w := newWorld(t)
	w.serve(&kubeletapi.Server{Config: w.cfg})
	w.want(401, w.client("HTTP/1.1", nil), "/healthz", "Bearer "+goodToken)
}

// HTTP/2 stays on whatever cipher suites are set, and off only where a client
// without TLS 1.3 could not speak it with them.
func TestHTTP2WithFewCipherSuites(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("FIPS 140 cryptography has none of these cipher suites")
	}
	for _, tt := range []struct {
		suite   string
		version uint16
		want    string
	}{
		{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", tls.VersionTLS12, "HTTP/2.0"},
		{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", tls.VersionTLS13, "HTTP/2.0"},
		{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", tls.VersionTLS12, "HTTP/1.1"},
	} {
		w := newWorld(t)
		w.cfg.AnonymousAuth, w.cfg.AuthorizationMode = true, kubeletapi.ModeAlwaysAllow
		w.cfg.TLSCipherSuites = []string{tt.suite}
		w.start()
		client := w.client("HTTP/2.0", nil)
		client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tt.version
		if response, body := w.get(client, "/healthz", ""); body != "ok" || response.Proto != tt.want {
			t.Errorf("%s, TLS %x: %q over %s, want %s", tt.suite, tt.version, body, response.Proto, tt.want)
		}
	}
}

// Where certificates are asked for, no session is resumed: one from before the
// client CA changed would bring its certificate along.
func TestSessionsAreNotResumed(t *testing.T) {
	for _, withCA := range []bool{true, false} {
		w := newWorld(t)
		if !withCA {
			w.cfg.ClientCAFile = ""
		}
		w.start()
		config := &tls.Config{RootCAs: w.ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8), MaxVersion: tls.VersionTLS12}
		resumed := false
		for range 2 {
			conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), config)
			if err != nil {
				t.Fatal(err)
			}
			resumed = conn.ConnectionState().DidResume
			conn.Close()
		}
		if resumed == withCA {
			t.Errorf("client CA %v: resumed %v", withCA, resumed)
		}
	}
}

// A review that fails is in the log as our failure even if nobody waits for it
// any more.
func TestFailedReviewIsLogged(t *testing.T) {
	w := newWorld(t)
	w.api.Inject("tokenreviews", apiservertest.Fault{Latency: 300 * time.Millisecond, Status: 403})
	w.start()
	client := w.client("HTTP/1.1", nil)
	client.Timeout = 100 * time.Millisecond
	request, _ := http.NewRequest("GET", w.url+"/healthz", nil)
	request.Header.Set("Authorization", "Bearer "+goodToken)
	if _, err := client.Do(request); err == nil {
		t.Fatal("that was too fast")
	}
	w.auth.Close() // waits for the review
	if log := w.log.String(); !strings.Contains(log, "level=ERROR msg=\"Failed to make webhook authenticator request\"") || strings.Contains(log, goodToken) {
		t.Errorf("log: %s", log)
	}
}
