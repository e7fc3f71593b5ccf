package upstream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/kubeletapi/upstream"
)

// switcher is an upstream that agrees to any upgrade with the answer of its
// request's X-Answer header, and then sends back what it gets, line by line.
type switcher struct {
	*recorder
	open atomic.Int64
}

func (s *switcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" && r.Header.Get("X-Answer") == "" {
		s.recorder.ServeHTTP(w, r)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	s.open.Add(1)
	defer s.open.Add(-1)
	answer := r.Header.Get("X-Answer")
	if answer == "" {
		answer = "101 Switching Protocols|Upgrade: " + r.Header.Get("Upgrade") + "|Connection: Upgrade|Sec-WebSocket-Protocol: " + r.Header.Get("Sec-WebSocket-Protocol")
	}
	io.WriteString(rw, "HTTP/1.1 "+strings.ReplaceAll(answer, "|", "\r\n")+"\r\n\r\n")
	rw.Flush()
	for {
		line, err := rw.ReadString('\n')
		if err != nil || line == "bye\n" {
			return
		}
		io.WriteString(rw, "echo "+line)
		rw.Flush()
	}
}

const upgradeHead = "Connection: Upgrade\r\nUpgrade: "

// echo sends a line through a tunnel and waits for it to come back.
func (c *conn) echo(line string) {
	c.t.Helper()
	io.WriteString(c, line+"\n")
	if got, err := c.r.ReadString('\n'); got != "echo "+line+"\n" || err != nil {
		c.t.Fatalf("the tunnel brought %q, %v", got, err)
	}
}

// A tunnel opens for the protocols that are allowed, and only for them.
func TestUpgrades(t *testing.T) {
	service := &switcher{recorder: new(recorder)}
	w := newWorld(t, upstream.Config{}, service)
	for _, tt := range []struct {
		name, head string
		tunnel     bool
	}{
		{"websocket", upgradeHead + "websocket", true},
		{"WebSocket", upgradeHead + "WebSocket", true},
		{"SPDY", upgradeHead + "SPDY/3.1", true},
		{"spdy", upgradeHead + "spdy/3.1", true},
		{"among others", "Connection: keep-alive, upgrade\r\nUpgrade: websocket", true},
		{"h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", false},
		{"h2c, settings not declared", upgradeHead + "h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", false},
		{"h2c after websocket", upgradeHead + "websocket\r\nUpgrade: h2c", false},
		{"h2c in a list", upgradeHead + "websocket, h2c", false},
		{"h2c with a space", upgradeHead + "h2c ", false},
		{"H2C", upgradeHead + "H2C", false},
		{"TLS", upgradeHead + "TLS/1.0", false},
		{"SPDY/3", upgradeHead + "SPDY/3", false},
		{"SPDY/2", upgradeHead + "SPDY/2", false},
		{"HTTP/2.0", upgradeHead + "HTTP/2.0", false},
		{"empty", upgradeHead, false},
		{"not declared", "Upgrade: websocket", false},
		{"only declared", "Connection: Upgrade", false},
		{"with an underscore", "Connection: Upgrade\r\nUp_grade: websocket", false},
	} {
		c := w.dial()
		io.WriteString(c, "GET /exec HTTP/1.1\r\nHost: n1\r\n"+tt.head+"\r\n\r\n")
		res, body := c.response("GET")
		if !tt.tunnel {
			requests, _ := service.take()
			if res.StatusCode != 200 || len(requests) != 1 || requests[0].Header["Upgrade"] != nil || requests[0].Header["Http2-Settings"] != nil || requests[0].Header["Connection"] != nil {
				t.Errorf("%s: %d %q, the upstream saw %v", tt.name, res.StatusCode, body, requests)
			}
			// What follows is a request like any other, which the filter looks at.
			io.WriteString(c, "GET /metrics/%2e%2e/exec HTTP/1.1\r\nHost: n1\r\n\r\n")
			if res, _ := c.response("GET"); res.StatusCode != 400 {
				t.Errorf("%s: the next request: %d", tt.name, res.StatusCode)
			}
			continue
		}
		if res.StatusCode != 101 {
			t.Errorf("%s: %d %q", tt.name, res.StatusCode, body)
			continue
		}
		c.echo("one")
		c.echo("two")
		c.Close()
	}
	eventually(t, "the tunnels stay open", func() bool { return service.open.Load() == 0 })
	res, _ := w.raw("GET /exec HTTP/1.0\r\nHost: n1\r\n" + upgradeHead + "websocket\r\n\r\n")
	if requests, _ := service.take(); res.StatusCode != 200 || len(requests) != 1 {
		t.Error("HTTP/1.0:", res.Status)
	}
}

// There is no tunnel without the upstream's 101 to the same protocol (CVE-2018-1002105).
func TestNoTunnelWithout101(t *testing.T) {
	service := &switcher{recorder: new(recorder)}
	w := newWorld(t, upstream.Config{}, service)
	for _, tt := range []struct {
		name, head, answer string
		code               int
	}{
		{"refused", upgradeHead + "websocket", "403 Forbidden|Content-Length: 0|Connection: close", 403},
		{"ignored", upgradeHead + "websocket", "200 OK|Content-Length: 0|Connection: close", 200},
		{"upgrade required", upgradeHead + "SPDY/3.1", "426 Upgrade Required|Upgrade: websocket|Connection: Upgrade, close|Content-Length: 0", 426},
		{"redirected", upgradeHead + "SPDY/3.1", "302 Found|Location: http://169.254.169.254/|Content-Length: 0|Connection: close", 302}, // CVE-2020-8559
		{"another protocol", upgradeHead + "websocket", "101 Switching Protocols|Upgrade: h2c|Connection: Upgrade", 502},
		{"two protocols", upgradeHead + "websocket", "101 Switching Protocols|Upgrade: h2c|Upgrade: websocket|Connection: Upgrade", 502},
		{"no protocol", upgradeHead + "websocket", "101 Switching Protocols|Connection: Upgrade", 502},
		{"not declared", upgradeHead + "websocket", "101 Switching Protocols|Upgrade: websocket", 502},
		{"not asked for", "X-A: b", "101 Switching Protocols|Upgrade: websocket|Connection: Upgrade", 502},
		{"asked for h2c", upgradeHead + "h2c", "101 Switching Protocols|Upgrade: h2c|Connection: Upgrade", 502},
		{"asked for nothing", "Connection: Upgrade", "101 Switching Protocols", 502},
		{"asked for TLS", upgradeHead + "TLS/1.0", "101 Switching Protocols|Upgrade: TLS/1.0|Connection: Upgrade", 502},
	} {
		c := w.dial()
		io.WriteString(c, "GET /exec HTTP/1.1\r\nHost: n1\r\nX-Answer: "+tt.answer+"\r\n"+tt.head+"\r\n\r\n")
		if res, body := c.response("GET"); res.StatusCode != tt.code {
			t.Errorf("%s: %d %q, want %d", tt.name, res.StatusCode, body, tt.code)
		}
		// The connection may be closed now; if it is not, it is no tunnel.
		io.WriteString(c, "GET /metrics/%2e%2e/exec HTTP/1.1\r\nHost: n1\r\n\r\n")
		if res, err := http.ReadResponse(c.r, nil); err == nil && res.StatusCode != 400 {
			t.Errorf("%s: the next request: %d", tt.name, res.StatusCode)
		}
		c.Close()
		if requests, _ := service.take(); requests != nil {
			t.Errorf("%s: the upstream saw %v", tt.name, requests)
		}
		eventually(t, tt.name+": the upstream's connection stays open", func() bool { return service.open.Load() == 0 })
	}
}

// A tunnel ends when either side ends it, and loses nothing of what was sent.
func TestTunnelEnds(t *testing.T) {
	service := &switcher{recorder: new(recorder)}
	w := newWorld(t, upstream.Config{}, service)
	open := func(early string) *conn {
		c := w.dial()
		io.WriteString(c, "POST /exec HTTP/1.1\r\nHost: n1\r\nContent-Length: 0\r\n"+upgradeHead+"SPDY/3.1\r\n\r\n"+early)
		if res, body := c.response("POST"); res.StatusCode != 101 {
			t.Fatal(res.StatusCode, body)
		}
		return c
	}
	t.Run("client", func(t *testing.T) {
		c := open("")
		c.echo("x")
		c.Close()
		eventually(t, "the upstream's side stays open", func() bool { return service.open.Load() == 0 })
	})
	t.Run("client stops sending", func(t *testing.T) {
		c := open("")
		c.echo("x")
		c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
		eventually(t, "the upstream's side stays open", func() bool { return service.open.Load() == 0 })
	})
	t.Run("upstream", func(t *testing.T) {
		c := open("")
		io.WriteString(c, "last\nbye\n")
		if rest, err := io.ReadAll(c); err != nil || string(rest) != "echo last\n" {
			t.Errorf("%q, %v", rest, err)
		}
	})
	t.Run("sent with the request", func(t *testing.T) {
		c := open("early\nbird\n")
		for _, want := range []string{"echo early\n", "echo bird\n"} {
			if got, err := c.r.ReadString('\n'); got != want {
				t.Fatalf("%q, %v", got, err)
			}
		}
	})
}

// Shutdown gives tunnels the time that it has, and no new one opens.
func TestShutdown(t *testing.T) {
	service := &switcher{recorder: new(recorder)}
	w := newWorld(t, upstream.Config{}, service)
	const head = "GET /exec HTTP/1.1\r\nHost: n1\r\n" + upgradeHead + "websocket\r\n\r\n"
	open := func() *conn {
		c := w.dial()
		io.WriteString(c, head)
		if res, body := c.response("GET"); res.StatusCode != 101 {
			t.Fatal(res.StatusCode, body)
		}
		c.echo("x")
		return c
	}
	one, two := open(), open()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.proxy.Shutdown(ctx); close(done) }()
	eventually(t, "a new tunnel opens", func() bool {
		c := w.dial()
		defer c.Close()
		io.WriteString(c, head)
		res, _ := c.response("GET")
		return res.StatusCode == 503
	})
	one.echo("still there")
	one.Close()
	two.echo("still there")
	select {
	case <-done:
		t.Fatal("Shutdown does not wait for a tunnel")
	default:
	}
	cancel()
	<-done
	if rest, err := io.ReadAll(two); len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if n := goroutines("httputil.", "upstream.("); n != 0 {
		eventually(t, "goroutines are left", func() bool { return goroutines("httputil.", "upstream.(") == 0 })
	}
	c := w.dial()
	io.WriteString(c, head)
	if res, _ := c.response("GET"); res.StatusCode != 503 {
		t.Error("after Shutdown, an upgrade gets", res.Status)
	}
	if res, _ := w.get(w.client(""), "/x"); res.StatusCode != 200 {
		t.Error("Shutdown ends what is no tunnel:", res.Status)
	}
	w.proxy.Shutdown(ended()) // as often as one likes
}

// Shutdown without a tunnel waits for nothing.
func TestShutdownAtOnce(t *testing.T) {
	w := newWorld(t, upstream.Config{}, new(recorder))
	w.get(w.client(""), "/x")
	w.proxy.Shutdown(context.Background())
}

// A tunnel whose two ends both take nothing more is cut nevertheless.
func TestStuckTunnelIsCut(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	ready := make(chan net.Conn, 1)
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		go io.Copy(conn, endless{})
		ready <- conn
		<-release // it reads nothing
		conn.Close()
	}))
	c := w.dial()
	io.WriteString(c, "GET /exec HTTP/1.1\r\nHost: n1\r\n"+upgradeHead+"websocket\r\n\r\n")
	c.response("GET")
	<-ready
	c.SetWriteDeadline(time.Now().Add(time.Second))
	io.Copy(c.Conn, endless{}) // until nothing goes through any more, neither way
	done := make(chan struct{})
	go func() { w.proxy.Shutdown(ended()); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the tunnel is not cut")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Many tunnels at once are as many connections, which all end.
func TestManyTunnels(t *testing.T) {
	service := &switcher{recorder: new(recorder)}
	w := newWorld(t, upstream.Config{}, service)
	results := make(chan error, 50)
	for i := range cap(results) {
		c := w.dial()
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "GET /exec HTTP/1.1\r\nHost: n1\r\n%swebsocket\r\n\r\n", upgradeHead)
			if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != 101 {
				results <- fmt.Errorf("%d: %v %v", i, res, err)
				return
			}
			for j := range 20 {
				line := fmt.Sprintf("%d %d %s\n", i, j, strings.Repeat("x", j*100))
				io.WriteString(c, line)
				if got, err := bufio.NewReaderSize(c.r, 16<<10).ReadString('\n'); got != "echo "+line {
					results <- fmt.Errorf("%q, %v", got, err)
					return
				}
			}
			results <- nil
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "tunnels stay open", func() bool { return service.open.Load() == 0 })
}
