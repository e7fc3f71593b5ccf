package e2e

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
)

// pageForwarder forwards TCP connections to an API server while it is open. It is closed at first.
type pageForwarder struct {
	address, target string

	mu       sync.Mutex
	listener net.Listener // nil when closed
	conns    []net.Conn
	running  sync.WaitGroup
}

// newPageForwarder returns a forwarder to the server with the https URL. It closes with the test.
func newPageForwarder(t *testing.T, url string) *pageForwarder {
	t.Helper()
	port, err := harness.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	f := &pageForwarder{
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		target:  strings.TrimPrefix(url, "https://"),
	}
	t.Cleanup(f.close)
	return f
}

// open begins to listen.
func (f *pageForwarder) open(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.listener = listener
	f.mu.Unlock()
	f.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.forward(conn)
		}
	})
}

// forward connects conn to the target. If that fails, conn ends.
func (f *pageForwarder) forward(conn net.Conn) {
	to, err := net.Dial("tcp", f.target)
	if err != nil {
		conn.Close()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener == nil {
		conn.Close()
		to.Close()
		return
	}
	f.conns = append(f.conns, conn, to)
	f.running.Go(func() { pagePipe(conn, to) })
	f.running.Go(func() { pagePipe(to, conn) })
}

// pagePipe copies one direction until either end is closed, and closes the other.
func pagePipe(from, to net.Conn) {
	defer to.Close()
	io.Copy(to, from)
}

// close ends all connections and listens no more.
func (f *pageForwarder) close() {
	f.mu.Lock()
	if f.listener != nil {
		f.listener.Close()
	}
	f.listener = nil
	for _, conn := range f.conns {
		conn.Close()
	}
	f.conns = nil
	f.mu.Unlock()
	f.running.Wait()
}
