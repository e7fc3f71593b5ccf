package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/kubeletapi/upstream"
)

// pooled is a ResponseWriter that its owner uses for another request later, as
// handlers that compress do.
type pooled struct {
	of atomic.Pointer[http.ResponseWriter]
}

func (p *pooled) Unwrap() http.ResponseWriter { return *p.of.Load() }
func (p *pooled) Header() http.Header         { return p.Unwrap().Header() }
func (p *pooled) Write(b []byte) (int, error) { return p.Unwrap().Write(b) }
func (p *pooled) WriteHeader(code int)        { p.Unwrap().WriteHeader(code) }

type other struct {
	http.ResponseWriter
	cut chan time.Time
}

func (o *other) SetReadDeadline(t time.Time) error { o.cut <- t; return nil }

// The end of a lingering client is not that of another one, who got the
// ResponseWriter after it.
func TestLingerLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(tooLarge))
	next := &other{cut: make(chan time.Time, 9)}
	front := serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p := new(pooled)
		p.of.Store(&rw)
		w.proxy.ServeHTTP(p, r)
		var later http.ResponseWriter = next
		p.of.Store(&later)
	}))
	w.front = front
	c := w.dial()
	start := time.Now()
	fmt.Fprint(c, "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: 100000\r\n\r\nx")
	io.ReadAll(c)
	t.Log("the client itself had", time.Since(start))
	select {
	case at := <-next.cut:
		t.Error("another request was cut:", at)
	case <-time.After(time.Until(start.Add(6 * time.Second))):
	}
}
