package upstream

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A stream of HTTP/2 is forgotten once it has ended, though net/http takes the
// deadline that it is given at the end after it has closed it.
func TestEndedStreamIsForgotten(t *testing.T) {
	const streams, atOnce = 1000, 200
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(soon + soon/2)
		io.WriteString(w, "done")
	}))
	defer back.Close()
	p, err := New(Config{URL: back.URL, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var kept atomic.Int64
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kept.Add(1)
		runtime.SetFinalizer(r.Context(), func(context.Context) { kept.Add(-1) }) // which the stream holds
		p.ServeHTTP(w, r)
	}))
	front.Config.Protocols = new(http.Protocols)
	front.Config.Protocols.SetUnencryptedHTTP2(true)
	front.Config.WriteTimeout = time.Hour
	front.Start()
	defer front.Close()
	transport := &http.Transport{Protocols: front.Config.Protocols}
	defer transport.CloseIdleConnections()
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for range streams / atOnce {
				r, _ := http.NewRequest("GET", front.URL, nil)
				res, err := transport.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	clients.Wait()
	p.Shutdown(t.Context()) // idle connections keep the last request
	for range 200 {
		time.Sleep(10 * time.Millisecond)
		runtime.GC()
		if kept.Load() == 0 {
			return
		}
	}
	t.Errorf("%d of %d streams are kept", kept.Load(), streams)
}
