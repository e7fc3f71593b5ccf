package node_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/kubeletapi/node"
)

// checks makes a check of each word; one that begins with - fails, and one with
// ! panics.
func checks(words string) (list []node.Check) {
	for word := range strings.FieldsSeq(words) {
		name := strings.TrimLeft(word, "-!")
		list = append(list, node.Check{Name: name, Check: func(context.Context) error {
			switch word[0] {
			case '-':
				return errors.New("secret reason")
			case '!':
				panic("secret reason")
			}
			return nil
		}})
	}
	return list
}

// TestHealth holds our answers against what handleRootHealth of
// k8s.io/apiserver/pkg/server/healthz answers, written out.
func TestHealth(t *testing.T) {
	const unknown = "warn: some health checks cannot be excluded: no matches for "
	for _, tt := range []struct {
		checks, path string
		code         int
		body         string
	}{
		{"", "/readyz", 200, "ok"},
		{"", "/readyz?verbose", 200, "[+]ping ok\nreadyz check passed\n"},
		{"", "/readyz?verbose=false", 200, "[+]ping ok\nreadyz check passed\n"},
		{"", "/readyz?VERBOSE", 200, "ok"},
		{"a b", "/readyz?verbose", 200, "[+]ping ok\n[+]a ok\n[+]b ok\nreadyz check passed\n"},
		{"b a", "/readyz?verbose", 200, "[+]ping ok\n[+]b ok\n[+]a ok\nreadyz check passed\n"},
		{"a -b", "/readyz", 500, "[+]ping ok\n[+]a ok\n[-]b failed: reason withheld\nreadyz check failed\n"},
		{"-a -b", "/readyz", 500, "[+]ping ok\n[-]a failed: reason withheld\n[-]b failed: reason withheld\nreadyz check failed\n"},
		{"a -b", "/readyz?exclude=b", 200, "ok"},
		{"a -b", "/readyz?exclude=b&verbose", 200, "[+]ping ok\n[+]a ok\n[+]b excluded: ok\nreadyz check passed\n"},
		{"a -b", "/readyz?exclude=a", 500, "[+]ping ok\n[+]a excluded: ok\n[-]b failed: reason withheld\nreadyz check failed\n"},
		{"a -b", "/readyz?exclude=b&exclude=a&exclude=b", 200, "ok"},
		{"a -b", "/readyz?exclude=b&exclude=ping&exclude=a&verbose", 200, "[+]ping excluded: ok\n[+]a excluded: ok\n[+]b excluded: ok\nreadyz check passed\n"},
		{"a -b", "/readyz?exclude=a,b", 500, "[+]ping ok\n[+]a ok\n[-]b failed: reason withheld\n" + unknown + `"a,b"` + "\nreadyz check failed\n"},
		{"a", "/readyz?exclude=x", 200, "ok"},
		{"a", "/readyz?exclude=x&verbose", 200, "[+]ping ok\n[+]a ok\n" + unknown + `"x"` + "\nreadyz check passed\n"},
		{"a", "/readyz?exclude=x&exclude=a&exclude=c&exclude=x&verbose", 200, "[+]ping ok\n[+]a excluded: ok\n" + unknown + `"c","x"` + "\nreadyz check passed\n"},
		{"a", "/readyz?exclude&verbose", 200, "[+]ping ok\n[+]a ok\n" + unknown + `""` + "\nreadyz check passed\n"},
		{"a", "/readyz?exclude=%22%0a&verbose", 200, "[+]ping ok\n[+]a ok\n" + unknown + `"\"\n"` + "\nreadyz check passed\n"},
		{"a", "/readyz?exclude=A&verbose", 200, "[+]ping ok\n[+]a ok\n" + unknown + `"A"` + "\nreadyz check passed\n"},
		{"a -b", "/readyz?exclude=%zz&exclude=b", 200, "ok"},
		{"a -b", "/readyz?" + strings.Repeat("exclude=b&", 10_001), 500, "[+]ping ok\n[+]a ok\n[-]b failed: reason withheld\nreadyz check failed\n"}, // past what is parsed
		{"a -b", "/readyz?" + strings.Repeat("exclude=b&", 9_000), 200, "ok"},
		{"a/b {x} GET", "/readyz?verbose", 200, "[+]ping ok\n[+]a/b ok\n[+]{x} ok\n[+]GET ok\nreadyz check passed\n"},
		{"a/b {x}", "/readyz/a/b", 200, "ok"},
		{"a/b {x}", "/readyz/%7Bx%7D", 200, "ok"},
		{"a -b", "/readyz/a", 200, "ok"},
		{"a -b", "/readyz/b", 500, "internal server error: reason withheld\n"},
		{"a -b", "/readyz/b?exclude=b", 500, "internal server error: reason withheld\n"},
		{"a -b", "/readyz/ping", 200, "ok"},
		{"a -b", "/readyz/c", 404, "404 page not found\n"},
		{"a !b", "/readyz", 500, "[+]ping ok\n[+]a ok\n[-]b failed: reason withheld\nreadyz check failed\n"},
		{"a !b", "/readyz/b", 500, "internal server error: reason withheld\n"},
	} {
		logger := slog.New(slog.DiscardHandler)
		ready := node.API{Ready: checks(tt.checks), Logger: logger}
		live := node.API{Live: checks(tt.checks), Logger: logger}
		rows := []struct {
			api        node.API
			path, body string
			code       int
		}{
			{ready, tt.path, tt.body, tt.code},
			{live, strings.Replace(tt.path, "readyz", "healthz", 1), strings.Replace(tt.body, "readyz check", "healthz check", 1), tt.code},
			{ready, "/healthz", "ok", 200},
			{live, "/readyz", "ok", 200},
		}
		for _, row := range rows {
			for _, h := range []string{"all", "health alone"} {
				handler := row.api.Handler()
				if h != "all" {
					handler = row.api.HealthHandler()
				}
				w := serve(handler, "GET", row.path)
				if w.Code != row.code || w.Body.String() != row.body {
					t.Errorf("%s: %q: %s: %d %q, want %d %q", h, tt.checks, row.path, w.Code, w.Body, row.code, row.body)
				}
				if w.Header().Get("Content-Type") != text || w.Header().Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: %q: %s: %q", h, tt.checks, row.path, w.Header())
				}
			}
		}
	}
}

func TestHealthHandlerServesNothingElse(t *testing.T) {
	handler := world(t).HealthHandler()
	for _, path := range []string{"/", "/metrics", "/configz", "/pods", "/logs/", "/logs/a.log", "/debug/pprof/", "/stats/summary", "/spec/"} {
		if w := serve(handler, "GET", path); w.Code != 404 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

// TestHealthLog holds that what fails is logged with its reason when that
// changes, and not each time that somebody asks.
func TestHealthLog(t *testing.T) {
	var log bytes.Buffer
	var err error
	handler := node.API{
		Ready:  []node.Check{{Name: "a", Check: func(context.Context) error { return err }}, {Name: "nil"}},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}.HealthHandler()
	serve(handler, "GET", "/readyz?exclude=a")
	for i, tt := range []struct {
		err    error
		path   string
		logged string
	}{
		{nil, "/readyz", ""},
		{errors.New("one"), "/readyz", "one"},
		{errors.New("one"), "/readyz", ""},
		{errors.New("one"), "/readyz/a", ""},
		{errors.New("two"), "/readyz/a", "two"},
		{errors.New("two"), "/readyz", ""},
		{nil, "/readyz", ""},
		{errors.New("two"), "/readyz?exclude=a", ""},
		{errors.New("two"), "/readyz", "two"},
	} {
		log.Reset()
		err = tt.err
		serve(handler, "GET", tt.path)
		got := log.String()
		if (got == "") != (tt.logged == "") || !strings.Contains(got, tt.logged) || strings.Count(got, "\n") > 1 {
			t.Errorf("%d: logged %q, want %q", i, got, tt.logged)
		}
	}
}

func TestHealthOfASlowCheck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		check func(context.Context) error
		took  time.Duration
		code  int
	}{
		{"obeys", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 5 * time.Second, 500},
		{"obeys, and has no complaint", func(ctx context.Context) error { <-ctx.Done(); return nil }, 5 * time.Second, 200},
		{"does not obey", func(context.Context) error { time.Sleep(time.Hour); return nil }, 6 * time.Second, 500},
		{"is in time", func(context.Context) error { time.Sleep(4 * time.Second); return nil }, 4 * time.Second, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var runs atomic.Int32
				handler := node.API{
					Ready: []node.Check{{Name: "slow", Check: func(ctx context.Context) error {
						runs.Add(1)
						return tt.check(ctx)
					}}},
					Logger: slog.New(slog.DiscardHandler),
				}.HealthHandler()
				answers := make(chan int)
				began := time.Now()
				const requests = 100
				for range requests {
					go func() { answers <- serve(handler, "GET", "/readyz").Code }()
				}
				for range requests {
					if code := <-answers; code != tt.code || time.Since(began) != tt.took {
						t.Fatalf("%d after %v, want %d after %v", code, time.Since(began), tt.code, tt.took)
					}
				}
				if runs.Load() != 1 {
					t.Errorf("%d requests made the check run %d times", requests, runs.Load())
				}
				if code := serve(handler, "GET", "/healthz").Code; code != 200 {
					t.Errorf("/healthz: %d", code)
				}
				time.Sleep(time.Hour) // until the check is over, whatever it does
			})
		})
	}
}

// TestHealthOfAClientThatLeaves holds that a check goes on without it, and that
// others get its answer.
func TestHealthOfAClientThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := node.API{
			Ready: []node.Check{{Name: "slow", Check: func(ctx context.Context) error {
				time.Sleep(time.Second)
				return ctx.Err()
			}}},
			Logger: slog.New(slog.DiscardHandler),
		}.HealthHandler()
		ctx, leave := context.WithCancel(t.Context())
		go handler.ServeHTTP(discard{}, request(t, "/readyz").WithContext(ctx))
		synctest.Wait()
		leave()
		if w := serve(handler, "GET", "/readyz"); w.Code != 200 {
			t.Errorf("%d %q", w.Code, w.Body)
		}
	})
}
