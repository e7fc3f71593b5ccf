package upstream

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"
	"weak"
)

// A client that resets its streams leaves nothing in memory until the time of the
// answers is up.
func TestResetStreamIsForgotten(t *testing.T) {
	const streams = 30
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer back.Close()
	p, err := New(Config{URL: back.URL, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan weak.Pointer[string], streams)
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value := []string{"what the stream keeps"}
		r.Trailer["X"] = value
		defer func() { served <- weak.Make(&value[0]) }()
		p.ServeHTTP(w, r)
	}))
	front.Config.Protocols = new(http.Protocols)
	front.Config.Protocols.SetUnencryptedHTTP2(true)
	front.Config.WriteTimeout = time.Hour
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	front.Start()
	defer front.Close()
	transport := &http.Transport{Protocols: front.Config.Protocols}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 3*soon)
	defer cancel()
	for range streams {
		go func() {
			body, sender := io.Pipe()
			defer sender.Close()
			r, _ := http.NewRequestWithContext(ctx, "POST", front.URL+"/x", body)
			r.Trailer = http.Header{"X": nil}
			if res, err := transport.RoundTrip(r); err == nil {
				res.Body.Close()
			}
		}()
	}
	var of []weak.Pointer[string]
	for range streams {
		of = append(of, <-served)
	}
	kept := 0
	for range 100 { // until the last handlers have returned
		time.Sleep(10 * time.Millisecond)
		runtime.GC()
		kept = 0
		for _, s := range of {
			if s.Value() != nil {
				kept++
			}
		}
		if kept <= streams/5 { // some are in pools of net/http
			return
		}
	}
	t.Errorf("%d of %d streams are kept", kept, streams)
}
