package upstream

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A look at an exchange does not hold up its upgrade, for which net/http ends its
// own reading with a deadline.
func TestLookDuringHijack(t *testing.T) {
	p, err := New(Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, _ := p.begin(w, r)
		defer x.end()
		done, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-done:
					return
				default:
					x.old.Store(false)
					x.watch.look()
				}
			}
		}()
		conn, _, err := x.Hijack()
		close(done)
		<-stopped
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		conn.Close()
	}))
	defer server.Close()
	for i := range 200 {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: n1\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if answer, err := io.ReadAll(conn); err != nil {
			t.Fatalf("upgrade %d: %q, %v", i, answer, err)
		}
	}
}
