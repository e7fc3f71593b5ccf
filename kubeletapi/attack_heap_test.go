package kubeletapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/decisionlog"
	"kubeletauth/kubeletapi/node"
)

// A token is nowhere on the heap of a server any more once its connection is
// closed, though the answer is remembered. The server is a process of its own,
// since whoever searches for a token has it.
func TestTokensLeaveTheHeap(t *testing.T) {
	const folder = "KUBELETAUTH_TEST_HEAP"
	if dir := os.Getenv(folder); dir != "" {
		serveAndDump(t, dir)
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("it would be the same elsewhere")
	}
	t.Parallel()
	w := newWorld(t)
	server := exec.Command(os.Args[0], "-test.run=^TestTokensLeaveTheHeap$")
	server.Env, server.Stderr = append(os.Environ(), folder+"="+w.dir, "DISABLE_HTTP2=1"), os.Stderr // net/http keeps a dead HTTP/2 connection to the API server
	tell, err1 := server.StdinPipe()
	said, err2 := server.StdoutPipe()
	if err := server.Start(); err1 != nil || err2 != nil || err != nil {
		t.Fatal(err1, err2, err)
	}
	defer server.Wait()
	defer tell.Close()
	hear := bufio.NewScanner(said)
	hear.Scan()
	w.url = hear.Text()
	tokens := map[string]string{} // and whose they are
	found := func() (names []string) {
		fmt.Fprintln(tell)
		hear.Scan()
		heap, err := os.ReadFile(filepath.Join(w.dir, "heap"))
		if err != nil || hear.Text() != "dumped" {
			t.Fatal(err, hear.Text())
		}
		for token, name := range tokens {
			if bytes.Contains(heap, []byte(token)) || bytes.Contains(heap, []byte(base64.RawURLEncoding.EncodeToString([]byte(token)))) {
				names = append(names, name)
			}
		}
		return names
	}
	w.api.AllowUser("jane", "get", "metrics", "proxy")
	var leave []func()
	const bearer, webSocket = "Authorization: Bearer ", "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Protocol: v4, base64url.bearer.authorization.k8s.io."
	for _, tt := range []struct {
		name, path, before, behind string
		fault, code                int
	}{
		{"known", "/metrics", bearer, "", 0, 200},
		{"known, denied", "/stats/", bearer, "", 0, 403},
		{"known, in a panic", "/panic", bearer, "", 0, 0},
		{"known, over a WebSocket", "/metrics", webSocket, "", 0, 200},
		{"unknown", "/metrics", bearer, "", 0, 401},
		{"unknown, over a WebSocket", "/metrics", webSocket, "", 0, 401},
		{"not reviewed", "/metrics", bearer, "", 400, 401},
		{"expired", "/metrics", bearer + "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1}`)) + ".", "", 0, 401},
		{"too long", "/metrics", bearer, strings.Repeat("x", 16<<10), 0, 401},
		{"of another scheme", "/metrics", "Authorization: Basic ", "", 0, 401},
		{"known, under way", "/hold", bearer, "", 0, 200},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			if proto == "HTTP/2.0" && tt.before == webSocket {
				continue
			}
			token := strings.Repeat(rand.Text(), 40) // longer than what the end of another object could hide
			tokens[token] = tt.name + ", " + proto
			if strings.HasPrefix(tt.name, "known") {
				w.api.SetToken(token, authn.UserInfo{Username: "jane"})
			}
			if tt.before == webSocket {
				token = base64.RawURLEncoding.EncodeToString([]byte(token))
			}
			if tt.fault != 0 {
				w.api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Status: tt.fault, Times: 1})
			}
			request, _ := http.NewRequest("GET", w.url+tt.path, nil)
			for header := range strings.SplitSeq(tt.before+token+tt.behind, "\n") {
				key, value, _ := strings.Cut(header, ": ")
				request.Header.Set(key, value)
			}
			client, code := w.client(proto, nil), 0
			leave = append(leave, client.CloseIdleConnections)
			if response, err := client.Do(request); err == nil {
				leave = append(leave, func() { response.Body.Close() })
				code = response.StatusCode
			}
			if code != tt.code {
				t.Errorf("%s, %s: %d, want %d", tt.name, proto, code, tt.code)
			}
		}
	}
	if names := strings.Join(found(), "; "); strings.Count(names, "known, under way") != 2 {
		t.Error("the heap has no token of a request that is under way, so that nothing is proved:", names)
	}
	w.api.Stop() // its connections have buffers too
	var names []string
	for range 20 { // until the server has noticed that they left
		for _, f := range leave {
			f()
		}
		time.Sleep(100 * time.Millisecond)
		if names = found(); names == nil {
			return
		}
	}
	t.Errorf("still on the heap: %q", names)
}

// serveAndDump serves, and writes its heap whenever it is told to.
func serveAndDump(t *testing.T, dir string) {
	path := func(name string) string { return filepath.Join(dir, name) }
	logger := slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))
	events, err1 := decisionlog.Open(decisionlog.Config{Path: path("events"), Logger: logger})
	cfg := kubeletapi.Config{ClientCAFile: path("ca.crt"), AuthenticationTokenWebhook: true, AuthorizationMode: kubeletapi.ModeWebhook, HostnameOverride: nodeName,
		Kubeconfig: path("kubeconfig"), TLSCertFile: path("tls.crt"), TLSPrivateKeyFile: path("tls.key"), Logger: logger, EventLogger: events}
	auth, err2 := kubeletapi.New(cfg)
	listener, err3 := net.Listen("tcp", "127.0.0.1:0")
	heap, err4 := os.Create(path("heap"))
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		t.Fatal(err1, err2, err3, err4)
	}
	defer auth.Close()
	defer events.Close()
	own := node.API{Metrics: auth.WriteMetrics, Logger: logger}.Handler()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() {
		served <- (&kubeletapi.Server{Config: cfg, Auth: auth, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/panic":
				panic(fmt.Sprint(r.Header))
			case "/hold":
				http.NewResponseController(rw).Flush()
				<-r.Context().Done()
			default:
				own.ServeHTTP(rw, r)
			}
		})}).Serve(ctx, listener)
	}()
	fmt.Println("https://" + listener.Addr().String())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for range 3 { // what is pooled goes with the second
			runtime.GC()
		}
		heap.Truncate(0)
		heap.Seek(0, io.SeekStart)
		debug.WriteHeapDump(heap.Fd())
		fmt.Println("dumped")
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
