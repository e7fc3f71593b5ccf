package upstream_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/upstream"
)

// patience bounds what happens at once if all is well.
const patience = 20 * time.Second

// jane is who the filter says asks.
var jane = authn.UserInfo{Username: "jane", UID: "7", Groups: []string{"dev", "system:authenticated"}, Extra: map[string][]string{"example.org/Team": {"a", "b"}}}

type as authn.UserInfo

func (u as) AuthenticateRequest(*http.Request) (*authn.UserInfo, bool, error) {
	user := authn.UserInfo(u)
	return &user, true, nil
}

// world is a filter and a proxy on HTTPS, in front of an upstream.
type world struct {
	t     testing.TB
	cfg   upstream.Config
	log   *buffer
	proxy *upstream.Proxy
	front *httptest.Server
}

// newWorld starts all of it, with the URL of service as the upstream's if cfg
// has none. tune changes the server in front.
func newWorld(t testing.TB, cfg upstream.Config, service http.Handler, tune ...func(*http.Server)) *world {
	t.Helper()
	w := &world{t: t, cfg: cfg, log: new(buffer)}
	if cfg.URL == "" {
		server := httptest.NewServer(service)
		t.Cleanup(server.Close)
		w.cfg.URL = server.URL
	}
	if w.cfg.Logger == nil {
		w.cfg.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	if w.proxy, err = upstream.New(w.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.proxy.Shutdown(ended()) })
	auth := &kubeletapi.Auth{NodeName: "n1", Authenticator: as(jane), Authorizer: authz.AlwaysAllow{}, Logger: w.cfg.Logger}
	w.front = serve(t, auth.Handler(w.proxy), tune...)
	return w
}

// serve serves a handler over HTTPS, HTTP/1.1 and HTTP/2, until the test ends.
func serve(t testing.TB, handler http.Handler, tune ...func(*http.Server)) *httptest.Server {
	front := httptest.NewUnstartedServer(handler)
	front.EnableHTTP2 = true
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	for _, f := range tune {
		f(front.Config)
	}
	front.StartTLS()
	t.Cleanup(front.Close)
	return front
}

// client speaks HTTP/1.1, or HTTP/2 if that is proto.
func (w *world) client(proto string) *http.Client {
	config := w.front.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: proto == "HTTP/2.0", DisableCompression: true, MaxIdleConnsPerHost: 100, ExpectContinueTimeout: patience}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// dial opens a connection for HTTP/1.1 to the front.
func (w *world) dial() *conn {
	w.t.Helper()
	config := w.front.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	c, err := tls.Dial("tcp", w.front.Listener.Addr().String(), config)
	if err != nil {
		w.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	w.t.Cleanup(func() { c.Close() })
	return &conn{w.t, c, bufio.NewReader(c)}
}

// raw sends bytes as they are and returns the answer.
func (w *world) raw(request string) (*http.Response, string) {
	w.t.Helper()
	c := w.dial()
	defer c.Close()
	io.WriteString(c, request)
	return c.response("GET")
}

type conn struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (c *conn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *conn) response(method string) (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal("no answer:", err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal("half an answer:", err)
	}
	return res, string(body)
}

// get asks and returns the answer with its body.
func (w *world) get(client *http.Client, path string) (*http.Response, string) {
	w.t.Helper()
	request, err := http.NewRequest("GET", w.front.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(client, request)
}

func (w *world) do(client *http.Client, request *http.Request) (*http.Response, string) {
	w.t.Helper()
	res, err := client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(body)
}

// recorder is an upstream that keeps what it was asked, if that was whole.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
	body []string
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r)
	s.body = append(s.body, string(body))
	fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
}

// take returns what was asked since the last time.
func (s *recorder) take() (requests []*http.Request, bodies []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests, bodies, s.seen, s.body = s.seen, s.body, nil, nil
	return requests, bodies
}

// buffer is a log that is written and read concurrently.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eventually waits until ok says so, or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// goroutines returns how many run code of these packages.
func goroutines(packages ...string) int {
	stacks := make([]byte, 64<<20)
	n := 0
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		for _, name := range packages {
			if strings.Contains(stack, name) {
				n++
				break
			}
		}
	}
	return n
}
