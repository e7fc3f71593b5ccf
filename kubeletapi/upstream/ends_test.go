package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"kubeletauth/kubeletapi/upstream"
)

// tooLarge answers early, and takes what comes.
func tooLarge(w http.ResponseWriter, _ *http.Request) {
	conn, _, _ := w.(http.Hijacker).Hijack()
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n")
	io.Copy(io.Discard, conn)
}

// Whoever was answered and does not end a body has five seconds.
func TestSlowBodyAfterTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(tooLarge))
	c := w.dial()
	start := time.Now()
	fmt.Fprint(c, "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: 100000\r\n\r\nx")
	rest, _ := io.ReadAll(c)
	if took := time.Since(start); took > patience || !strings.Contains(string(rest), " 413 ") {
		t.Errorf("kept for %v", took)
	}
}

// A tunnel that its client has ended does not wait for an upstream that says nothing.
func TestTunnelEndsWithItsClient(t *testing.T) {
	t.Parallel()
	gone := make(chan error, 1)
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(io.Discard, conn)
		for { // it was closed, and not only for one direction
			if _, err := conn.Write([]byte("x")); err != nil {
				gone <- err
				conn.Close()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}))
	c := w.dial()
	fmt.Fprint(c, "GET /x HTTP/1.1\r\nHost: n1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	c.Conn.(interface{ CloseWrite() error }).CloseWrite()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("it stays")
	}
}
