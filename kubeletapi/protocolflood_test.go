package kubeletapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
)

// What strangers do to the protocols, from another process. Meanwhile honest
// callers are served, known and new ones, and memory and goroutines have a bound,
// which is that of the server and the API server beside it. Afterwards there is
// nothing left.
func TestProtocolFloods(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	idle := 10_000
	if kubeletapi.RaceDetector() {
		idle = 1_000
	}
	for _, test := range []struct {
		flood       string
		connections int
		goroutines  int  // besides 50
		memory      int  // in use, besides 8 MiB
		closes      bool // the server closes each connection
		short       bool // as soon as time is up
	}{
		{"handshake", 500, 500, 500 * 16 * kib, true, true},
		{"idle", idle, idle, idle * 32 * kib, false, false},
		{"idle-answered", 500, 500, 500 * 32 * kib, false, false},
		{"slow-header", 200, 200, 200 * 32 * kib, true, true},
		{"slow-body", 200, 2 * 200, 200 * 32 * kib, true, true},
		{"header", 20, 4 * 20, 20 * 256 * kib, true, false},
		{"body", 20, 4 * 20, 20 * 128 * kib, true, false},
		{"chunks", 20, 4 * 20, 20 * 128 * kib, true, false},
		{"reset", 5, 5 * 260, 5 * 8 * mib, true, false},
		{"continuation", 20, 4 * 20, 20 * 512 * kib, true, false},
		{"ping", 5, 4 * 5, 5 * 4 * mib, true, false},
		{"settings", 5, 4 * 5, 5 * mib, false, false},
		{"window", 40, 40 * 250 / 3, 64 * mib, false, false},
		{"token", 40, 40 * 250 / 3, 128 * mib, true, false},
	} {
		t.Run(test.flood, func(t *testing.T) {
			w := newWorld(t)
			w.cfg.Logger = slog.New(slog.DiscardHandler)
			if test.flood == "idle" {
				w.cfg.ClientCAFile = "" // with it, no session is resumed
			}
			w.api.AllowUser("jane", "get", "*")
			auth, err := kubeletapi.New(w.cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(auth.Close)
			server := &kubeletapi.Server{Config: w.cfg, Auth: auth, Handler: http.NotFoundHandler(), MaxUnauthenticatedRequests: maxGuests}
			if test.short {
				server.ReadHeaderTimeout, server.ReadTimeout = 3*time.Second, 3*time.Second
			}
			if test.flood == "idle" {
				server.ReadHeaderTimeout = time.Minute
			}
			w.serve(server)
			known := w.client("HTTP/1.1", nil)
			w.want(404, known, "/metrics", "Bearer "+goodToken)
			if test.flood == "token" {
				w.api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Times: 1, Hang: make(chan struct{})})
			}

			before := measureProcess()
			f := w.flood(test.flood, test.connections)
			until := f.closed
			if !test.closes {
				until = make(chan struct{})
				close(until)
			}
			used, most := w.honestDuring(known, until)
			report := f.end()
			t.Logf("%d goroutines more, %.1f MiB at most; %v", used.goroutines-before.goroutines, float64(used.memory-before.memory)/mib, report)
			if n := used.goroutines - before.goroutines; n > test.goroutines+50 {
				t.Errorf("%d goroutines more", n)
			}
			if n := most - before.goroutines; n > 3*test.goroutines+50 {
				t.Errorf("%d goroutines more at a moment", n)
			}
			if n := used.memory - before.memory; n > test.memory+8*mib {
				t.Errorf("%d MiB more", n/mib)
			}
			if !test.closes && max(report.Reached, report.Closed) < test.connections/2 {
				t.Errorf("not much of a flood: %v", report)
			}
			if test.closes && report.Closed < test.connections {
				t.Errorf("only %v", report)
			}
			for start := time.Now(); measureProcess().goroutines > before.goroutines+20; time.Sleep(10 * time.Millisecond) {
				if time.Since(start) > 15*time.Second {
					t.Fatalf("%d goroutines afterwards, %d before", measureProcess().goroutines, before.goroutines)
				}
			}
		})
	}
}

const maxGuests = 500 // requests of strangers under way

// usage is what a process has in use.
type usage struct{ goroutines, memory int }

func measureProcess() usage {
	n := runtime.NumGoroutine()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{n, int(m.HeapAlloc + m.StackInuse)}
}

// honestDuring asks as one who is known, and as one with a new token and a new
// connection, ten times and until done is closed. It returns what was in use
// meanwhile: of memory the most, and of goroutines the median too, as those of
// closed connections need a moment to end.
func (w *world) honestDuring(known *http.Client, done <-chan struct{}) (used usage, most int) {
	w.t.Helper()
	var goroutines []int
	defer func() {
		slices.Sort(goroutines)
		used.goroutines, most = goroutines[len(goroutines)/2], goroutines[len(goroutines)-1]
	}()
	late := time.After(time.Minute)
	for n := 0; ; n++ {
		w.want(404, known, "/metrics", "Bearer "+goodToken)
		token := fmt.Sprintf("good-%d", n)
		w.api.SetToken(token, authn.UserInfo{Username: "jane"})
		unknown := w.client([]string{"HTTP/1.1", "HTTP/2.0"}[n%2], nil)
		w.want(404, unknown, "/metrics", "Bearer "+token)
		unknown.CloseIdleConnections()
		now := measureProcess()
		goroutines, used.memory = append(goroutines, now.goroutines), max(used.memory, now.memory)
		select {
		case <-late:
			w.t.Error("it takes too long")
			return used, most
		case <-done:
			if n >= 10 {
				return used, most
			}
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// runningFlood is one that is under way.
type runningFlood struct {
	t      *testing.T
	stdin  io.Closer
	closed chan struct{} // when the server has closed as many connections as there are
	report chan floodReport
}

// flood begins one, and returns when it is at its height.
func (w *world) flood(name string, connections int) *runningFlood {
	w.t.Helper()
	request, _ := json.Marshal(floodRequest{name, strings.TrimPrefix(w.url, "https://"), connections})
	program, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), floodEnv+"="+string(request), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	f := &runningFlood{w.t, stdin, make(chan struct{}), make(chan floodReport, 1)}
	ready := make(chan struct{})
	go f.listen(stdout, ready)
	w.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	select {
	case <-ready:
	case <-time.After(time.Minute):
		w.t.Fatal("the flood did not come")
	}
	return f
}

// listen takes what the other process has to say.
func (f *runningFlood) listen(out io.Reader, ready chan struct{}) {
	defer close(f.report)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var report floodReport
		switch line := lines.Text(); {
		case line == "ready":
			close(ready)
		case line == "closed":
			close(f.closed)
		case json.Unmarshal([]byte(line), &report) == nil:
			f.report <- report
		}
	}
}

// end ends the flood and returns what it saw.
func (f *runningFlood) end() floodReport {
	f.t.Helper()
	f.stdin.Close()
	report, ok := <-f.report
	if !ok {
		f.t.Fatal("the flood did not end well")
	}
	return report
}

// Whoever has to be asked for a body first is told what is the matter instead, and
// a body that nobody wants is not waited for.
func TestBodiesAreNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.api.AllowUser("jane", "get", "*")
	w.api.AllowUser("jane", "create", "*")
	w.start()
	for _, test := range []struct{ name, request, want string }{
		{"a stranger who expects 100", "POST /run HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "401 Unauthorized"},
		{"a stranger who expects 100, in chunks", "POST /run HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "401 Unauthorized"},
		{"a stranger who expects 100 of a GET", "GET /healthz HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "401 Unauthorized"},
		{"somebody who expects 100", "GET /healthz HTTP/1.1\r\nAuthorization: Bearer " + goodToken + "\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "200 OK"},
		{"somebody who expects something else", "GET /healthz HTTP/1.1\r\nAuthorization: Bearer " + goodToken + "\r\nExpect: 200-ok\r\n", "417 Expectation Failed"},
		{"a stranger with a large body", "GET /healthz HTTP/1.1\r\nContent-Length: 1000000\r\n", "401 Unauthorized"},
		{"somebody with a large body", "GET /healthz HTTP/1.1\r\nAuthorization: Bearer " + goodToken + "\r\nContent-Length: 1000000\r\n", "200 OK"},
	} {
		conn := w.dial()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, test.request+"Host: n1\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.Status != test.want || !answer.Close {
			t.Errorf("%s: %v, %v", test.name, answer, err)
		}
		conn.Close()
	}
}
