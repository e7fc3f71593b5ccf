//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestManagerOf(t *testing.T) {
	pid, other := strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getppid())
	for _, tt := range []struct {
		socket, usec, pid string
		want              serviceManager
		err               string
	}{
		{"", "", "", serviceManager{}, ""},
		{"", "30000000", pid, serviceManager{}, ""}, // there is nobody to tell
		{"/run/s", "", "", serviceManager{"/run/s", 0}, ""},
		{"@s", "30000000", "", serviceManager{"@s", 30 * time.Second}, ""},
		{"/run/s", "30000000", pid, serviceManager{"/run/s", 30 * time.Second}, ""},
		{"/run/s", "30000000", other, serviceManager{"/run/s", 0}, ""},
		{"/run/s", "", pid, serviceManager{"/run/s", 0}, ""},
		{"/run/s", "100000", "", serviceManager{"/run/s", 100 * time.Millisecond}, ""},
		{"/run/s", "99999", "", serviceManager{"/run/s", 0}, "WATCHDOG_USEC"}, // it would do nothing else
		{"/run/s", "1", "", serviceManager{"/run/s", 0}, "WATCHDOG_USEC"},
		{"/run/s", "0", "", serviceManager{"/run/s", 0}, "WATCHDOG_USEC"},
		{"/run/s", "-1", "", serviceManager{"/run/s", 0}, "WATCHDOG_USEC"},
		{"/run/s", "30s", "", serviceManager{"/run/s", 0}, "WATCHDOG_USEC"},
		{"/run/s", "9223372036854776", "", serviceManager{"/run/s", 0}, "WATCHDOG_USEC"}, // more than 292 years
		{"/run/s", "18446744073709551615", "", serviceManager{"/run/s", 0}, "WATCHDOG_USEC"},
		{"vsock:2:1234", "1", "", serviceManager{}, "NOTIFY_SOCKET"},
		{"run/s", "", "", serviceManager{}, "NOTIFY_SOCKET"},
	} {
		env := map[string]string{"NOTIFY_SOCKET": tt.socket, "WATCHDOG_USEC": tt.usec, "WATCHDOG_PID": tt.pid}
		got, err := managerOf(func(name string) string { return env[name] })
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %+v, %v, want %+v, %q", env, got, err, tt.want, tt.err)
		}
	}
}

// FuzzServiceManager holds that whatever the environment says, nothing is sent
// but to the socket that it names, and that a watchdog leaves time for the rest.
func FuzzServiceManager(f *testing.F) {
	socket, pid := socketPath(f), strconv.Itoa(os.Getpid())
	next := manager(f, socket)
	for _, name := range []string{"", "DIR/s", "@DIR/s", "DIR//./s", "DIR/s/", "DIR/none", "DIR", " DIR/s", "vsock:2:1", "s", "@", "DIR/" + strings.Repeat("./", 100) + "s"} {
		for _, usec := range []string{"", "30000000", "0100000", "99999", "1", "0", "-1", "+5", "3e7", "0x10000000", "9223372036854776", "18446744073709551616", " 30000000"} {
			f.Add(name, usec, "PID")
			f.Add(name, usec, "")
		}
	}
	f.Fuzz(func(t *testing.T, name, usec, of string) {
		fill := strings.NewReplacer("DIR", filepath.Dir(socket), "PID", pid, "\x00", "", "..", "") // no environment has a NUL
		env := map[string]string{"NOTIFY_SOCKET": fill.Replace(name), "WATCHDOG_USEC": usec, "WATCHDOG_PID": fill.Replace(of)}
		m, err := managerOf(func(key string) string { return env[key] })
		n, bad := strconv.ParseUint(usec, 10, 63)
		var want serviceManager
		if name := env["NOTIFY_SOCKET"]; name != "" && (name[0] == '/' || name[0] == '@') {
			want.socket = name
		}
		wanted := want.socket != "" && usec != "" && (env["WATCHDOG_PID"] == "" || env["WATCHDOG_PID"] == pid)
		if wanted && bad == nil && n >= 100_000 && n <= math.MaxInt64/1000 {
			want.watchdog = time.Duration(n) * time.Microsecond
		}
		if m != want || (err != nil) != (want.socket != env["NOTIFY_SOCKET"] || wanted && want.watchdog == 0) {
			t.Fatalf("%q: %+v, %v, want %+v", env, m, err, want)
		}
		if !strings.HasPrefix(strings.TrimPrefix(m.socket, "@"), filepath.Dir(socket)+"/") {
			return // somebody may listen there
		}
		err = m.send("READY=1")
		serviceManager{socket: socket}.send("end")
		here, got := filepath.Clean(m.socket) == socket, ""
		if err == nil {
			got = next()
		}
		if got += next(); got != map[bool]string{false: "end", true: "READY=1end"}[err == nil] || err == nil && !here || err != nil && m.socket == socket {
			t.Fatalf("%q: %v, and the socket got %q", env, err, got)
		}
	})
}

// manager listens as a service manager does. The function it returns waits for
// the next state.
func manager(t testing.TB, socket string) (next func() string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func() string {
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		state := make([]byte, 100)
		n, err := conn.Read(state)
		if err != nil {
			return err.Error()
		}
		return string(state[:n])
	}
}

// socketPath is one that is short enough for an address.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestSend(t *testing.T) {
	sockets := []string{socketPath(t)}
	if runtime.GOOS == "linux" {
		sockets = append(sockets, "@kubeletauth-test-"+strconv.Itoa(os.Getpid()))
	}
	for _, socket := range sockets {
		next := manager(t, socket)
		if err := (serviceManager{socket: socket}).send("READY=1"); err != nil {
			t.Errorf("%s: %v", socket, err)
		} else if got := next(); got != "READY=1" {
			t.Errorf("%s got %q", socket, got)
		}
	}
}

// A service manager that is not there, or does not read, holds nothing up.
func TestSendIsBounded(t *testing.T) {
	m := serviceManager{socket: socketPath(t)}
	if err := m.send("READY=1"); err == nil {
		t.Error("nobody listens, and that is no error")
	}
	manager(t, m.socket)
	for range 10_000 {
		if err := m.send("WATCHDOG=1"); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ENOBUFS) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("a socket that nobody reads never fills")
}

func TestFollow(t *testing.T) {
	const interval = 15 * time.Second
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	well := func(context.Context) error { return nil }
	for _, tt := range []struct {
		name     string
		interval time.Duration
		alive    []func(context.Context) error // the last one goes on
		runs     time.Duration
		want     string
	}{
		{"no watchdog", 0, nil, time.Hour, "0s READY=1, 1h0m0s STOPPING=1"},
		{"well", interval, []func(context.Context) error{well}, 50 * time.Second, "0s READY=1, 15s WATCHDOG=1, 30s WATCHDOG=1, 45s WATCHDOG=1, 50s STOPPING=1"},
		{"one failure", interval, []func(context.Context) error{well, func(context.Context) error { return errors.New("ill") }, well}, 50 * time.Second, "0s READY=1, 15s WATCHDOG=1, 45s WATCHDOG=1, 50s STOPPING=1"},
		{"hangs", interval, []func(context.Context) error{hang}, 50 * time.Second, "0s READY=1, 50s STOPPING=1"},
		{"hangs once", interval, []func(context.Context) error{hang, well}, 50 * time.Second, "0s READY=1, 30s WATCHDOG=1, 45s WATCHDOG=1, 50s STOPPING=1"},
		{"stops while it asks", interval, []func(context.Context) error{func(ctx context.Context) error { <-ctx.Done(); return nil }}, 20 * time.Second, "0s READY=1, 20s STOPPING=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.runs)
				defer cancel()
				start, asked := time.Now(), 0
				var got []string
				alive := func(ctx context.Context) error {
					asked++
					return tt.alive[min(asked, len(tt.alive))-1](ctx)
				}
				follow(ctx, tt.interval, alive, func(state string) { got = append(got, time.Since(start).String()+" "+state) }, slog.New(slog.DiscardHandler))
				if got := strings.Join(got, ", "); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
			})
		})
	}
}

func TestPing(t *testing.T) {
	health := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" {
				code = 404
			}
			w.WriteHeader(code)
		})
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections as long as its queue does, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, tt := range []struct {
		name    string
		address net.Addr
		health  http.Handler
		limit   time.Duration
		err     string
	}{
		{"well", server.Listener.Addr(), health(200), time.Minute, ""},
		{"implicit 200", server.Listener.Addr(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) }), time.Minute, ""},
		{"on every IPv4 address", &net.TCPAddr{IP: net.IPv4zero, Port: port}, health(200), time.Minute, ""},
		{"on every address", &net.TCPAddr{IP: net.IPv6zero, Port: port}, health(200), time.Minute, ""},
		{"on no address", &net.TCPAddr{IP: net.IPv6zero, Port: closed.Addr().(*net.TCPAddr).Port}, health(200), time.Minute, "refused"},
		{"ill", server.Listener.Addr(), health(500), time.Minute, "/healthz is 500"},
		{"nobody listens", closed.Addr(), health(200), time.Minute, "refused"},
		{"nobody answers", silent.Addr(), health(200), 50 * time.Millisecond, "deadline"},
		{"health outlasts the limit", server.Listener.Addr(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Second, "deadline"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
		err := ping(ctx, tt.address, tt.health)
		cancel()
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
}

// The program as systemd runs it: told when it serves, that it is well, and when
// it stops, before it has ended.
func TestServiceManager(t *testing.T) {
	socket := socketPath(t)
	next := manager(t, socket)
	command := exec.Command(build(t), "--anonymous-auth=false", "--healthz-port=0", "--port="+strconv.Itoa(freePort(t)))
	command.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=1000000", "WATCHDOG_PID=")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Process.Kill()
	for i, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Errorf("state %d is %q, want %q", i, got, want)
		}
	}
	command.Process.Signal(syscall.SIGTERM)
	got := next()
	for got == "WATCHDOG=1" {
		got = next()
	}
	if got != "STOPPING=1" {
		t.Errorf("the last state is %q", got)
	}
	if err := command.Wait(); err != nil || strings.Contains(stderr.String(), "handshake") {
		t.Errorf("%v: %s", err, stderr.String())
	}
}
