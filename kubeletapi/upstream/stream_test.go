package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/upstream"
)

var bothVersions = []string{"HTTP/1.1", "HTTP/2.0"}

// echo sends back each line of a request's body as soon as it has it.
func echo(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex()
	w.Header().Set("Trailer", "X-Lines")
	w.WriteHeader(200)
	rc.Flush()
	lines := bufio.NewScanner(r.Body)
	n := 0
	for ; lines.Scan(); n++ {
		fmt.Fprintln(w, "echo", lines.Text())
		rc.Flush()
	}
	w.Header().Set("X-Lines", fmt.Sprint(n, r.Trailer))
	w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
}

// upstreams are the ways to reach a handler.
func upstreams(t testing.TB, handler http.Handler) map[string]upstream.Config {
	plain := httptest.NewServer(handler)
	h2c := httptest.NewUnstartedServer(handler)
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	overUnix := func(server *httptest.Server) string {
		socket := filepath.Join(t.TempDir(), "s")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server.Listener.Close()
		server.Listener = listener
		server.Start()
		return "unix://" + socket
	}
	unix, unixH2C := httptest.NewUnstartedServer(handler), httptest.NewUnstartedServer(handler)
	unixH2C.Config.Protocols = h2c.Config.Protocols
	encrypted, encrypted2 := httptest.NewUnstartedServer(handler), httptest.NewUnstartedServer(handler)
	encrypted.StartTLS()
	encrypted2.EnableHTTP2 = true
	encrypted2.StartTLS()
	all := map[string]upstream.Config{
		"http": {URL: plain.URL}, "h2c": {URL: h2c.URL, Protocol: "h2c"},
		"unix": {URL: overUnix(unix)}, "unix h2c": {URL: overUnix(unixH2C), Protocol: "h2c"},
		"https": {URL: encrypted.URL, CAFile: caFile(t, encrypted)}, "https h2": {URL: encrypted2.URL, CAFile: caFile(t, encrypted2)},
	}
	t.Cleanup(func() {
		for _, server := range []*httptest.Server{plain, h2c, unix, unixH2C, encrypted, encrypted2} {
			server.Close()
		}
	})
	return all
}

// Lines go both ways at once, and trailers too, whichever versions of HTTP meet.
func TestBothWaysAtOnce(t *testing.T) {
	for name, cfg := range upstreams(t, http.HandlerFunc(echo)) {
		w := newWorld(t, cfg, nil)
		for _, proto := range bothVersions {
			t.Run(name+" "+proto, func(t *testing.T) {
				body, send := io.Pipe()
				r, _ := http.NewRequest("POST", w.front.URL+"/x", body)
				r.Trailer = http.Header{"X-Sum": {"42"}}
				res, err := w.client(proto).Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				lines := bufio.NewReader(res.Body)
				for i := range 10 {
					fmt.Fprintln(send, i)
					if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("echo %d\n", i) {
						t.Fatalf("%q, %v, %s", line, err, w.log)
					}
				}
				send.Close()
				if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
					t.Errorf("%q, %v", rest, err)
				}
				if got := res.Trailer.Get("X-Lines"); got != "10 map[X-Sum:[42]]" || res.Trailer.Get("X-Late") != "yes" {
					t.Errorf("the trailer is %v", res.Trailer)
				}
			})
		}
	}
}

// An upstream that answers before it has read a body, or without, gets what the
// client sends as long as it reads; and net/http in front goes on.
func TestEarlyAnswers(t *testing.T) {
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slowly" {
			rc := http.NewResponseController(w)
			rc.EnableFullDuplex()
			w.WriteHeader(200)
			rc.Flush()
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		} else {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	}))
	for _, proto := range bothVersions {
		client := w.client(proto)
		for i := range 30 {
			for _, size := range []int{1, 100, 10_000, 300_000} {
				for _, known := range []bool{true, false} {
					send := func(path string) (*http.Response, string, error) {
						var body io.Reader = bytes.NewReader(make([]byte, size))
						if !known {
							body = io.MultiReader(body)
						}
						r, _ := http.NewRequest("POST", w.front.URL+path, body)
						res, err := client.Do(r)
						if err != nil {
							return nil, "", err
						}
						defer res.Body.Close()
						text, err := io.ReadAll(res.Body)
						return res, string(text), err
					}
					if res, text, err := send("/slowly"); err != nil || res.StatusCode != 200 || text != fmt.Sprint(size, nil) {
						t.Fatalf("%s, %d bytes, turn %d: %v %q %v", proto, size, i, res, text, err)
					}
					// A client may well see its connection end before it sees an answer to half a request.
					if res, _, err := send("/"); err == nil && res.StatusCode != 413 && res.StatusCode != 502 {
						t.Fatalf("%s, %d bytes, turn %d: %v", proto, size, i, res)
					}
				}
			}
		}
	}
	// Down, with a body that nobody reads (golang/go#68560).
	down := newWorld(t, upstream.Config{URL: "http://127.0.0.1:1"}, nil, func(s *http.Server) {
		s.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(failing{t}, nil), slog.LevelError)
	})
	client := down.client("HTTP/1.1")
	for range 50 {
		r, _ := http.NewRequest("POST", down.front.URL+"/x", strings.NewReader("abc"))
		if res, body := down.do(client, r); res.StatusCode != 502 || body != "Bad Gateway\n" {
			t.Fatal(res.Status, body)
		}
	}
}

// failing fails the test if something is written about a panic.
type failing struct{ t *testing.T }

func (f failing) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("panic")) {
		f.t.Errorf("%s", p)
	}
	return len(p), nil
}

// What the upstream flushes, the client has: the header, and each piece.
func TestFlushedAtOnce(t *testing.T) {
	next := make(chan string)
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if length := r.URL.Query().Get("length"); length != "" {
			w.Header().Set("Content-Length", length)
		}
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		rc := http.NewResponseController(w)
		rc.Flush()
		for piece := range next {
			io.WriteString(w, piece)
			rc.Flush()
			if piece == "end" {
				return
			}
		}
	}))
	for _, proto := range bothVersions {
		for _, query := range []string{"", "?type=text/event-stream", "?type=application/json", "?length=12", "?length=12&type=text/plain"} {
			res, err := w.client(proto).Get(w.front.URL + "/x" + query) // with the header alone
			if err != nil {
				t.Fatal(err)
			}
			for _, piece := range []string{"one", "two", "six", "end"} {
				next <- piece
				got := make([]byte, 3)
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != piece {
					t.Fatalf("%s %q: %q, %v", proto, query, got, err)
				}
			}
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Errorf("%s %q: %q, %v", proto, query, rest, err)
			}
			res.Body.Close()
		}
	}
}

// A client that waits for 100 gets it from the upstream, and one that is refused
// sends nothing.
func TestExpectContinue(t *testing.T) {
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Refuse") != "" {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(w, string(body), err)
	}))
	for _, refuse := range []string{"", "yes"} {
		read := false
		r, _ := http.NewRequest("POST", w.front.URL+"/x", readerFunc(func(p []byte) (int, error) {
			if read {
				return 0, io.EOF
			}
			read = true
			return copy(p, "hello"), nil
		}))
		r.ContentLength = 5
		r.Header.Set("Expect", "100-continue")
		if refuse != "" {
			r.Header.Set("X-Refuse", refuse)
		}
		continued := false
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got100Continue: func() { continued = true }}))
		res, body := w.do(w.client("HTTP/1.1"), r)
		switch {
		case refuse == "" && (res.StatusCode != 200 || body != "hello<nil>" || !continued):
			t.Error(res.Status, body, continued)
		case refuse != "" && (res.StatusCode != 417 || continued || read):
			t.Error(res.Status, continued, read)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Early hints pass, without what concerns only the upstream's connection
// (golang/go#81319).
func TestEarlyHints(t *testing.T) {
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Link", "</style.css>; rel=preload")
		h.Set("Connection", "X-Nominated")
		h.Set("X-Nominated", "1")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusEarlyHints)
		clear(h)
		io.WriteString(w, "done")
	}))
	for _, proto := range bothVersions {
		hints := http.Header{}
		r, _ := http.NewRequest("GET", w.front.URL+"/x", nil)
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = http.Header(h)
			return nil
		}}))
		res, body := w.do(w.client(proto), r)
		if res.StatusCode != 200 || body != "done" || res.Header.Get("Link") != "" || !maps.EqualFunc(hints, http.Header{"Link": {"</style.css>; rel=preload"}}, slices.Equal[[]string]) {
			t.Errorf("%s: %v %q, the hints are %v", proto, res, body, hints)
		}
	}
}

// Answers without a body, and lengths, stay what they are.
func TestAnswersWithoutBody(t *testing.T) {
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		default:
			w.Header().Set("Content-Length", "12345")
			if r.Method != "HEAD" {
				w.Write(make([]byte, 12345))
			}
		}
	}))
	for _, proto := range bothVersions {
		for _, tt := range []struct {
			method, path string
			code         int
			length       int64
		}{{"HEAD", "/", 200, 12345}, {"GET", "/", 200, 12345}, {"GET", "/204", 204, 0}, {"GET", "/304", 304, 0}} {
			r, _ := http.NewRequest(tt.method, w.front.URL+tt.path, nil)
			res, body := w.do(w.client(proto), r)
			if res.StatusCode != tt.code || tt.length > 0 && res.ContentLength != tt.length || tt.method == "GET" && len(body) != int(tt.length) {
				t.Errorf("%s %s: %d, length %d, %d bytes", tt.method, tt.path, res.StatusCode, res.ContentLength, len(body))
			}
		}
	}
}

// A body goes through as it comes, in the memory that a buffer takes.
func TestBodiesAreNotKept(t *testing.T) {
	const size = 64 << 20
	check := func() { // while the proxy has all of it, or most
		var m runtime.MemStats
		runtime.GC()
		if runtime.ReadMemStats(&m); m.HeapAlloc > size/2 {
			t.Errorf("%d MiB of heap", m.HeapAlloc>>20)
		}
	}
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			io.CopyN(w, endless{}, size)
			check()
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		check()
		fmt.Fprint(w, n, err, r.ContentLength)
	}))
	for _, proto := range bothVersions {
		for _, length := range []int64{size, -1} {
			r, _ := http.NewRequest("POST", w.front.URL+"/x", io.LimitReader(endless{}, size))
			r.ContentLength = length
			if _, body := w.do(w.client(proto), r); body != fmt.Sprint(size, nil, length) {
				t.Errorf("%s, length %d: %s", proto, length, body)
			}
		}
		res, err := w.client(proto).Get(w.front.URL + "/x")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
			t.Error(proto, n, err)
		}
		res.Body.Close()
	}
}

// A POST is sent once, even if the upstream dies over it.
func TestPostIsNotRepeated(t *testing.T) {
	var asked atomic.Int64
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/die" {
			asked.Add(1)
			panic(http.ErrAbortHandler)
		}
	}))
	client := w.client("HTTP/1.1")
	for _, body := range []string{"abc", ""} {
		w.get(client, "/x") // so that there is a connection to reuse
		asked.Store(0)
		r, _ := http.NewRequest("POST", w.front.URL+"/die", strings.NewReader(body))
		if res, _ := w.do(client, r); res.StatusCode != 502 || asked.Load() != 1 {
			t.Errorf("body %q: %s after %d times", body, res.Status, asked.Load())
		}
	}
}

// The upstream learns that a client has gone, and nobody is alarmed.
func TestClientGone(t *testing.T) {
	arrived, gone := make(chan string), make(chan error, 1)
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/streaming" {
			http.NewResponseController(w).Flush()
		}
		arrived <- r.URL.Path
		<-r.Context().Done()
		gone <- r.Context().Err()
	}))
	for _, proto := range bothVersions {
		for _, path := range []string{"/waiting", "/streaming"} {
			ctx, cancel := context.WithCancel(t.Context())
			r, _ := http.NewRequestWithContext(ctx, "GET", w.front.URL+path, nil)
			client, done := w.client(proto), make(chan struct{})
			go func() {
				defer close(done)
				if res, err := client.Do(r); err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}()
			<-arrived
			cancel()
			<-done
			select {
			case <-gone:
			case <-time.After(patience):
				t.Fatalf("%s %s: the upstream does not learn of it", proto, path)
			}
		}
	}
	w.front.Close()
	if strings.Contains(w.log.String(), "ERROR") || strings.Contains(w.log.String(), "WARN") {
		t.Error(w.log)
	}
}

// An answer that breaks off is not taken for a whole one.
func TestBrokenAnswer(t *testing.T) {
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	for _, proto := range bothVersions {
		res, err := w.client(proto).Get(w.front.URL + "/x?" + secret)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%s: %q", proto, body)
		}
		res.Body.Close()
	}
	if strings.Contains(w.log.String(), secret) {
		t.Error("the log has a query:", w.log)
	}
}

// A thousand streams live at once, behind the real server, and end cleanly.
func TestManyStreams(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	type event chan struct{}
	more, release := make(event), make(event)
	var open atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: first\n")
		http.NewResponseController(w).Flush()
		<-more
		io.WriteString(w, "data: second\n")
		http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer service.Close()
	before := goroutines("net/http", "upstream.(")
	proxy, err := upstream.New(upstream.Config{URL: service.URL, IdentityHeaders: true, Timeout: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := kubeletapi.Config{AnonymousAuth: true, AuthorizationMode: kubeletapi.ModeAlwaysAllow, HostnameOverride: "n1", Logger: slog.New(slog.DiscardHandler)}
	auth, err := kubeletapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- (&kubeletapi.Server{Config: cfg, Auth: auth, Handler: proxy, ReadHeaderTimeout: -1, ReadTimeout: -1}).Serve(ctx, listener) // a slow machine takes long to shake hands
	}()
	for _, proto := range bothVersions {
		more, release = make(event), make(event)
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: proto == "HTTP/2.0"}
		client := &http.Client{Transport: transport}
		results, firsts := make(chan error, n), make(chan struct{}, n)
		turn := make(chan struct{}, 64) // else all shake hands at once, and net/http gives a first SETTINGS two seconds
		for i := range n {
			go func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r, _ := http.NewRequestWithContext(ctx, "GET", "https://"+listener.Addr().String()+"/x", nil)
				turn <- struct{}{}
				res, err := client.Do(r)
				<-turn
				if err != nil {
					firsts <- struct{}{}
					results <- err
					return
				}
				defer res.Body.Close()
				lines := bufio.NewReader(res.Body)
				first, _ := lines.ReadString('\n')
				firsts <- struct{}{}
				second, _ := lines.ReadString('\n')
				switch {
				case first != "data: first\n" || second != "data: second\n":
					err = fmt.Errorf("%q, %q", first, second)
				case i%2 == 0: // this one leaves, the others wait for the end
					cancel()
				default:
					if rest, readErr := io.ReadAll(lines); readErr != nil || len(rest) > 0 {
						err = errors.Join(fmt.Errorf("%q", rest), readErr)
					}
				}
				results <- err
			}()
		}
		for range n {
			<-firsts
		}
		if got := open.Load(); got != int64(n) {
			t.Errorf("%s: %d streams are open, want %d", proto, got, n)
		}
		close(more)
		eventually(t, proto+": those who left are not noticed", func() bool { return open.Load() <= int64(n)/2 })
		close(release)
		for range n {
			if err := <-results; err != nil {
				t.Fatal(proto, err)
			}
		}
		eventually(t, proto+": streams are left", func() bool { return open.Load() == 0 })
		transport.CloseIdleConnections()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	proxy.Shutdown(ended())
	eventually(t, "goroutines are left", func() bool { return goroutines("net/http", "upstream.(") <= before })
}
