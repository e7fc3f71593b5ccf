package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/upstream"
)

// seen answers with the request as it came: its first line, and its headers.
func seen(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/redirect" {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		return
	}
	io.WriteString(w, r.Method+" "+r.RequestURI+"\n")
	r.Header.Write(w)
}

// front serves a proxy to back over TLS, as jane.
func front(t *testing.T, back http.Handler, change func(*upstream.Config)) *httptest.Server {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	behind := &http.Server{Handler: back}
	go behind.Serve(listener)
	t.Cleanup(func() { behind.Close() })
	cfg := upstream.Config{URL: "unix://" + socket, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	proxy, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := &authn.UserInfo{Username: "jane", Groups: []string{"a", "b"}, Extra: map[string][]string{"x/y": {"z"}}}
		proxy.ServeHTTP(w, r.WithContext(authn.WithUser(r.Context(), user)))
	}))
	t.Cleanup(func() {
		server.Close()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		proxy.Shutdown(ended)
	})
	return server
}

// raw sends bytes and returns the answer.
func raw(t *testing.T, server *httptest.Server, request string) (*http.Response, string) {
	t.Helper()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(conn, request)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response, string(body)
}

func TestTarget(t *testing.T) {
	server := front(t, http.HandlerFunc(seen), nil)
	for _, tt := range []struct {
		target string
		code   int
	}{
		{"/metrics", 200},
		{"/a%41%7E?x=%2F&y=a+b", 200},
		{"/a;b/?", 200},
		{"/%E4", 200},
		{"/x?a=%zz", 400},
		{"/x?a;b", 400},
		{"/redirect", 302},
	} {
		response, body := raw(t, server, "GET "+tt.target+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if response.StatusCode != tt.code || tt.code == 200 && !strings.HasPrefix(body, "GET "+tt.target+"\n") {
			t.Errorf("%s: %d %q", tt.target, response.StatusCode, body)
		}
	}
}

func TestNoCredentialPasses(t *testing.T) {
	for _, identity := range []bool{false, true} {
		server := front(t, http.HandlerFunc(seen), func(cfg *upstream.Config) { cfg.IdentityHeaders = identity })
		for _, line := range []string{
			"Authorization: Bearer evil", "Proxy-Authorization: evil", "X-Remote-User: evil", "x-remote-group: evil",
			"X_Remote_User: evil", "X-Remote_User: evil", "X-Forwarded-For: evil", "X_Forwarded_Host: evil", "Forwarded: for=evil",
			"Impersonate-User: evil", "Impersonate_Group: evil", "X-Remote-Extra-Evil: evil", "X-Original-URL: /evil",
			"Connection: X-Remote-User, X-Remote-Group\r\nX-Remote-User: evil",
			"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.evil",
			"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: evil",
			"Transfer-Encoding: chunked\r\nTrailer: X-Remote-User\r\n\r\n0\r\nX-Remote-User: evil",
		} {
			_, body := raw(t, server, "POST /x HTTP/1.1\r\nHost: h\r\n"+line+"\r\n\r\n")
			if strings.Contains(strings.ToLower(body), "evil") || strings.Contains(body, "Upgrade") {
				t.Errorf("%s: %s", line, body)
			}
			if told := strings.Contains(body, "X-Remote-User: jane\r\n") && strings.Contains(body, "X-Remote-Group: a\r\nX-Remote-Group: b\r\n") && strings.Contains(body, "X-Remote-Extra-X%2fy: z\r\n"); told != identity {
				t.Errorf("%s: identity %t: %s", line, identity, body)
			}
		}
	}
}

func TestUpstreamFails(t *testing.T) {
	down := front(t, nil, func(cfg *upstream.Config) { cfg.URL = "unix://" + filepath.Join(t.TempDir(), "none") })
	if response, body := raw(t, down, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); response.StatusCode != 502 || body != "Bad Gateway\n" {
		t.Errorf("down: %d %q", response.StatusCode, body)
	}
	slow := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), func(cfg *upstream.Config) { cfg.Timeout = 50 * time.Millisecond })
	if response, body := raw(t, slow, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); response.StatusCode != 504 || body != "Gateway Timeout\n" {
		t.Errorf("slow: %d %q", response.StatusCode, body)
	}
}

// A tunnel opens after the upstream's 101, carries both ways, and ends with the
// upstream's side.
func TestTunnel(t *testing.T) {
	server := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		line, _ := rw.ReadString('\n')
		io.WriteString(conn, "echo "+line)
	}), nil)
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n")
	answer, err := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") || !strings.HasSuffix(string(answer), "\r\n\r\necho hello\n") {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestRoute(t *testing.T) {
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	handler := upstream.Route([]string{"/metrics", "/a/b/"}, say("match"), say("rest"))
	for path, want := range map[string]string{
		"/metrics": "match", "/metrics/": "match", "/metrics/x": "match", "/metricsx": "rest", "/": "rest", "/METRICS": "rest",
		"/a/b": "match", "/a/b/c": "match", "/a/bc": "rest", "/a": "rest", "/x/metrics": "rest",
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Body.String() != want {
			t.Errorf("%s: %s, want %s", path, w.Body, want)
		}
	}
}
