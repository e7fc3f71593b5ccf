package kubeletapi_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/kubeclient"
)

// newIncident serves, to jane, who may get metrics, a handler that notes what it
// is asked. testdata/incidents.md says which row is about which incident.
func newIncident(t *testing.T) (w *world, served *[]string) {
	w, served = newWorld(t), new([]string)
	w.api.AllowUser("jane", "get", "metrics")
	auth, err := kubeletapi.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auth.Close)
	w.auth = auth
	var mu sync.Mutex
	w.serve(&kubeletapi.Server{Config: w.cfg, Auth: auth, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		*served = append(*served, r.Method+" "+r.URL.Path)
	})})
	return w, served
}

// Nothing that a client says of itself or of the way that it came decides, but
// its credential, its method and its path.
func TestIncidents(t *testing.T) {
	w, served := newIncident(t)
	const jane = "Authorization: Bearer " + goodToken + "\r\n"
	for _, test := range []struct {
		name, line, header string
		code               int
	}{
		{"from this machine", "GET /metrics", "", 401},
		{"a checkpoint by nobody", "POST /checkpoint/ns/pod/container", "Content-Length: 0\r\n", 401},
		{"a checkpoint by somebody who may not", "POST /checkpoint/ns/pod/container", jane + "Content-Length: 0\r\n", 403},
		{"a probe's User-Agent", "GET /healthz", "User-Agent: kube-probe/1.37\r\n", 401},
		{"a load balancer's User-Agent", "GET /healthz", "User-Agent: GoogleHC/1.0\r\n", 401},
		{"another path in X-Forwarded-Uri", "GET /exec", jane + "X-Forwarded-Uri: /metrics\r\nX-Original-Url: /metrics\r\nX-Rewrite-Url: /metrics\r\n", 403},
		{"another path in X-Forwarded-Uri, by nobody", "GET /exec", "X-Forwarded-Uri: /healthz\r\nX-Forwarded-Method: GET\r\n", 401},
		{"another method in a header", "DELETE /metrics", jane + "X-Http-Method-Override: GET\r\n", 403},
		{"another address in X-Forwarded-For", "GET /metrics", "X-Forwarded-For: 127.0.0.1\r\nX-Real-Ip: 127.0.0.1\r\n", 401},
		{"Impersonate-User", "GET /metrics", "Impersonate-User: jane\r\nImpersonate-Group: system:masters\r\n", 401},
		{"Impersonate-User, with a token", "GET /exec", jane + "Impersonate-User: system:admin\r\nImpersonate-Group: system:masters\r\n", 403},
		{"X-Remote-User", "GET /metrics", "X-Remote-User: jane\r\nX_Remote_User: jane\r\nX-Forwarded-User: jane\r\n", 401},
		{"an allowed path in the query", "GET /exec?/metrics", jane, 403},
		{"an allowed path in the fragment", "GET /exec#/metrics", jane, 403},
		{"dots in the fragment", "GET /metrics#/../../exec", jane, 307},
		{"an encoded query", "GET /exec%3f/metrics", jane, 403},
		{"more query parameters than are parsed", "GET /exec?" + strings.Repeat("a&", 10_001), jane, 403},
		{"h2c preface", "PRI *", "", 400},
		{"an upgrade to h2c", "GET /metrics", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 401},
		{"a debugging path", "GET /debug/pprof/", "", 401},
		{"what is allowed", "GET /metrics", jane, 200},
	} {
		conn := w.dial()
		proto := " HTTP/1.1\r\nHost: n1\r\n"
		if strings.HasPrefix(test.line, "PRI") {
			proto = " HTTP/2.0\r\n"
		}
		io.WriteString(conn, test.line+proto+test.header+"\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if response.StatusCode != test.code {
			t.Errorf("%s: %d, want %d", test.name, response.StatusCode, test.code)
		}
		conn.Close()
	}
	w.stop()
	if len(*served) != 1 {
		t.Errorf("served %q", *served)
	}
}

// The port speaks nothing but TLS.
func TestPlainTextIsNotServed(t *testing.T) {
	w, served := newIncident(t)
	for _, sent := range []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /metrics HTTP/1.1\r\nHost: n1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, sent)
		answer, err := io.ReadAll(conn)
		if conn.Close(); os.IsTimeout(err) || bytes.HasPrefix(answer, []byte("HTTP/1.1 ")) || bytes.Contains(answer, []byte("HTTP/1.0 2")) {
			t.Errorf("%.20q: %q, %v", sent, answer, err)
		}
	}
	if len(*served) > 0 {
		t.Errorf("served %q", *served)
	}
}

// frame is one of HTTP/2 (RFC 9113, section 4.1).
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(head, flags), stream), payload...)
}

// Whoever resets streams as fast as they open, or never ends a header, loses
// the connection, and has had few requests looked at.
func TestHTTP2Incidents(t *testing.T) {
	const headers, reset, settings, continuation = 1, 3, 4, 9
	get := []byte("\x82\x87\x84\x01\x02n1") // GET, https, /, and the authority n1 (RFC 7541)
	for _, test := range []struct {
		name string
		next func(i uint32) []byte
	}{
		{"rapid reset", func(i uint32) []byte {
			return append(frame(headers, 4|1, 2*i+1, get), frame(reset, 0, 2*i+1, []byte{0, 0, 0, 8})...)
		}},
		{"requests without end", func(i uint32) []byte { return frame(headers, 4|1, 2*i+1, get) }},
		{"CONTINUATION without end", func(i uint32) []byte {
			field := append([]byte("\x00\x01x\x7f\x81\x01"), bytes.Repeat([]byte("y"), 256)...) // x: yyy..., 256 of them
			if i == 0 {
				return frame(headers, 1, 1, get)
			}
			return frame(continuation, 0, 1, bytes.Repeat(field, 32))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, served := newIncident(t)
			conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{RootCAs: w.ca.Pool(), NextProtos: []string{"h2"}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			var closed atomic.Bool
			go func() {
				io.Copy(io.Discard, conn)
				closed.Store(true)
			}()
			conn.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(settings, 0, 0, nil)...))
			sent := uint32(0)
			for ; sent < 1<<20 && !closed.Load(); sent++ {
				if _, err := conn.Write(test.next(sent)); err != nil {
					break
				}
			}
			if sent == 1<<20 {
				t.Error("the connection stays open")
			}
			w.stop()
			var metrics bytes.Buffer
			looked := 0
			for w.auth.WriteMetrics(&metrics); metrics.Len() > 0; {
				line, _ := metrics.ReadString('\n')
				if name, value, _ := strings.Cut(line, "} "); strings.HasPrefix(name, "kubelet_http_requests_total") {
					n := 0
					fmt.Sscan(value, &n)
					looked += n
				}
			}
			if looked > 1000 || len(*served) > 0 { // 250 at once, and those that began before the first was answered
				t.Errorf("of %d frames, %d requests were looked at, and %d served", sent, looked, len(*served))
			}
			t.Logf("%d frames, %d requests looked at", sent, looked)
		})
	}
}

// However many paths and methods there are, what is counted stays the same.
func TestMetricsDoNotGrow(t *testing.T) {
	w, _ := newIncident(t)
	client := w.client("HTTP/1.1", nil)
	series := func(from, to int) int {
		for i := from; i < to; i++ {
			for _, token := range []string{"", "Bearer " + goodToken, fmt.Sprint("Bearer garbage-", i)} {
				r, _ := http.NewRequest(fmt.Sprintf("METHOD%d", i), fmt.Sprintf("%s/path%d/metrics", w.url, i), nil)
				r.Header.Set("Authorization", token)
				r.Header.Set("User-Agent", fmt.Sprint("agent", i))
				response, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				readBody(t, response)
			}
		}
		var b bytes.Buffer
		w.auth.WriteMetrics(&b)
		return strings.Count(b.String(), "\n")
	}
	if first, last := series(0, 5), series(5, 60); first != last {
		t.Errorf("%d lines of metrics, and after more requests %d", first, last)
	}
}

// Users who would look alike if their fields were written one after the other
// share no decision.
func TestUsersThatLookAlike(t *testing.T) {
	w := newWorld(t)
	users := []authn.UserInfo{
		{Username: "ann"},
		{Username: "an", UID: "n"},
		{Username: "a", UID: "nn"},
		{Username: "ann", Groups: []string{"b,c"}},
		{Username: "ann", Groups: []string{"b", "c"}},
		{Username: "ann", Groups: []string{"c", "b"}},
		{Username: "ann", Groups: []string{"bc"}},
		{Username: "ann", Groups: []string{"b"}, Extra: map[string][]string{"c": nil}},
		{Username: "ann", Extra: map[string][]string{"b": {"c"}}},
		{Username: "ann", Extra: map[string][]string{"b": {}, "c": {}}},
		{Username: "ann", Extra: map[string][]string{"b": {"c", "d"}}},
		{Username: "ann", Extra: map[string][]string{"b": {"cd"}}},
		{Username: "ann\x00b"},
		{Username: "ann", UID: "\x00b"},
		{Username: "ANN"},
		{Username: "a", UID: "b", Groups: []string{""}},
		{Username: "a" + strings.Repeat("\x00", 8) + "b"}, // where lengths of 8 bytes are zero
	}
	for i, u := range users {
		w.api.SetToken(fmt.Sprint("token-", i), u)
	}
	w.start()
	for i := range users {
		w.want(403, w.client("HTTP/1.1", nil), "/metrics", fmt.Sprint("Bearer token-", i))
	}
	if n := w.api.Count(apiservertest.SubjectAccessReviews); n != len(users) {
		t.Errorf("%d users, and %d reviews of what they may", len(users), n)
	}
}

// Whatever goes wrong, no token is in the log, which is at level debug, or in an
// answer.
func TestTokensStayOutOfTheLog(t *testing.T) {
	w := newWorld(t)
	w.cfg.AuthenticationStaleIfError, w.cfg.AuthenticationTokenWebhookCacheTTL = time.Minute, time.Millisecond
	w.start()
	client := w.client("HTTP/2.0", nil)
	said := ""
	ask := func(authorization string) {
		response, body := w.get(client, "/metrics?token=s3cr3t", authorization)
		said += body + fmt.Sprint(response.Header)
	}
	for _, fault := range []func(){
		func() {},
		func() {
			w.api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Status: 503, Body: "the token was s3cr3t and " + goodToken})
		},
		func() { w.api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Break: apiservertest.BreakEmpty}) },
		w.api.Stop,
	} {
		fault()
		for _, authorization := range []string{"Bearer " + goodToken, "Bearer s3cr3t", "Bearer s3cr3t-" + strings.Repeat("x", 20<<10), "Basic s3cr3t", "Bearer e30.s3cr3t.s3cr3t", "s3cr3t"} {
			ask(authorization)
		}
	}
	for _, secret := range []string{goodToken, "s3cr3t"} {
		if strings.Contains(w.log.String(), secret) || strings.Contains(said, secret) {
			t.Errorf("%s shows:\n%s\n%s", secret, w.log, said)
		}
	}
	if !strings.Contains(w.log.String(), "Failed to make webhook") {
		t.Error("nothing went wrong")
	}
}

// What is not set lets nobody in, however it is not set.
func TestNothingIsNobody(t *testing.T) {
	var none *kubeclient.Client
	for _, test := range []struct {
		name   string
		change func(*kubeletapi.Config)
		code   int
	}{
		{"no client CA, a certificate offered", func(c *kubeletapi.Config) { c.ClientCAFile = "" }, 401},
		{"a client CA, a certificate offered", func(*kubeletapi.Config) {}, 200},
		{"no tokens, a token offered", func(c *kubeletapi.Config) { c.ClientCAFile, c.AuthenticationTokenWebhook = "", false }, 401},
		{"a typed nil reviews tokens", func(c *kubeletapi.Config) { c.ClientCAFile, c.TokenReviewer = "", none }, 401},
		{"a typed nil reviews accesses", func(c *kubeletapi.Config) { c.AccessReviewer = none }, 500},
		{"the zero client reviews accesses", func(c *kubeletapi.Config) { c.AccessReviewer = new(kubeclient.Client) }, 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.api.AllowUser("ann", "get", "*")
			pair := w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "ann"})
			test.change(&w.cfg)
			w.start()
			authorization := ""
			if w.cfg.ClientCAFile == "" {
				authorization = "Bearer garbage-token"
			}
			w.want(test.code, w.client("HTTP/1.1", &pair), "/metrics", authorization)
		})
	}
	if _, err := kubeletapi.New(kubeletapi.Config{}); err == nil {
		t.Error("the zero Config makes a filter")
	}
}

// A server that is open to everyone says so, and none is unless it is told to:
// it listens on the loopback address.
func TestOpenServerWarns(t *testing.T) {
	for _, test := range []struct {
		anonymous bool
		mode      string
		warns     bool
	}{
		{true, kubeletapi.ModeAlwaysAllow, true},
		{false, kubeletapi.ModeAlwaysAllow, false},
		{true, kubeletapi.ModeWebhook, false},
	} {
		w := newWorld(t)
		w.cfg.AnonymousAuth, w.cfg.AuthorizationMode = test.anonymous, test.mode
		w.start()
		w.client("HTTP/1.1", nil).Get(w.url)
		if strings.Contains(w.log.String(), "Everyone who can connect is allowed everything") != test.warns {
			t.Errorf("anonymous %v, %s: %s", test.anonymous, test.mode, w.log)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	addresses := make(chan net.Addr, 1)
	server := &kubeletapi.Server{Config: kubeletapi.Config{Port: free.Addr().(*net.TCPAddr).Port}, Ready: func(a net.Addr) { addresses <- a }}
	go server.ListenAndServe(t.Context())
	if a := <-addresses; !a.(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("listens on %v", a)
	}
}

// A certificate that costs much to look at gets its answer, as do others
// meanwhile.
func TestCostlyCertificates(t *testing.T) {
	w, _ := newIncident(t)
	w.api.AllowUser("ann", "get", "metrics")
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("%d.%s.example", i, strings.Repeat("x", 40)))
	}
	stranger := apiservertest.MustNewCA(t, "stranger")
	var crowded tls.Certificate
	for i := range 300 { // each of which could have issued the leaf of the first
		middle, err := stranger.IssueCA(apiservertest.Certificate{CommonName: "middle", SubjectKeyID: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		pair := middle.MustIssue(t, apiservertest.Certificate{CommonName: "ann"})
		if i == 0 {
			crowded = pair
		}
		crowded.Certificate = append(crowded.Certificate, pair.Certificate[1])
	}
	for _, test := range []struct {
		name string
		pair tls.Certificate
		code int
	}{
		{"names", w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "ann", DNSNames: names}), 200},
		{"names, of a stranger", stranger.MustIssue(t, apiservertest.Certificate{CommonName: "ann", DNSNames: names}), 401},
		{"intermediates", crowded, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					response, err := w.client("HTTP/1.1", &test.pair).Get(w.url + "/metrics")
					if err != nil {
						t.Error(err)
						return
					}
					if response.Body.Close(); response.StatusCode != test.code {
						t.Errorf("%d, want %d", response.StatusCode, test.code)
					}
				})
			}
			w.want(200, w.client("HTTP/1.1", nil), "/metrics", "Bearer "+goodToken)
			all.Wait()
			for line := range strings.Lines(w.log.String()) {
				if len(line) > 8<<10 {
					t.Errorf("a line of %d bytes in the log", len(line))
				}
			}
		})
	}
}
