package kubeletapi

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// sieve is an API server that takes 5 ms for an answer, and knows the tokens and
// paths with "good" in them.
type sieve struct {
	hangs                   atomic.Bool
	mu                      sync.Mutex
	reviews, inside, atOnce int
	verbs                   []string // that were asked about
}

func (s *sieve) review(ctx context.Context) error {
	s.enter(1)
	defer s.enter(-1)
	if s.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(5 * time.Millisecond)
	return nil
}

func (s *sieve) enter(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside += n
	s.reviews += max(n, 0)
	s.atOnce = max(s.atOnce, s.inside)
}

func (s *sieve) ReviewToken(ctx context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	if err := s.review(ctx); err != nil {
		return nil, err
	}
	return &authn.TokenReviewStatus{Authenticated: strings.Contains(spec.Token, "good"), User: authn.UserInfo{Username: spec.Token}}, nil
}

func (s *sieve) ReviewAccess(ctx context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	if err := s.review(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if spec.NonResourceAttributes != nil {
		s.verbs = append(s.verbs, spec.NonResourceAttributes.Verb)
	} else {
		s.verbs = append(s.verbs, spec.ResourceAttributes.Verb)
	}
	s.mu.Unlock()
	good := spec.NonResourceAttributes == nil || strings.Contains(spec.NonResourceAttributes.Path, "good")
	return &authz.SubjectAccessReviewStatus{Allowed: good}, nil
}

// flooded is a server, and what it was asked.
type flooded struct {
	t     *testing.T
	api   *sieve
	auth  *Auth
	log   bytes.Buffer
	codes sync.Map // of answers to the flood, each with an *atomic.Int64
}

func newFlooded(t *testing.T, cfg Config) *flooded {
	f := &flooded{t: t, api: &sieve{}}
	cfg.AuthorizationMode, cfg.HostnameOverride = ModeWebhook, "n1"
	cfg.AuthenticationTokenWebhook, cfg.TokenReviewer, cfg.AccessReviewer = true, f.api, f.api
	cfg.Logger = slog.New(slog.NewTextHandler(&f.log, nil))
	var err error
	if f.auth, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

// ask sends one request over a connection, which is a context.
func (f *flooded) ask(connection context.Context, from, token, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil).WithContext(connection)
	if r.RemoteAddr = from; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })).ServeHTTP(w, r)
	return w
}

// flood asks over a number of connections, every 200 ms over each, until ctx ends. If
// fresh, each request has a connection of its own.
func (f *flooded) flood(ctx context.Context, connections int, fresh bool, from func(i int) string, credential func(n int64) (token, path string)) {
	var n atomic.Int64
	for i := range connections {
		go func() {
			connection := withSlot(f.t.Context(), nil)
			for time.Sleep(time.Duration(i) * 10 * time.Microsecond); ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
				if fresh {
					connection = withSlot(f.t.Context(), nil)
				}
				token, path := credential(n.Add(1))
				w := f.ask(connection, from(i), token, path)
				count, _ := f.codes.LoadOrStore(w.Code, new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
				if w.Code == 429 && w.Header().Get("Retry-After") != "1" {
					f.t.Error("429 without Retry-After")
				}
			}
		}()
	}
}

func (f *flooded) count(code int) int64 {
	n, ok := f.codes.Load(code)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

func loopback(int) string           { return "127.0.0.1:1000" }
func everywhere(i int) string       { return fmt.Sprintf("[2001:db8:%x:%x::1]:1000", i, i) }
func garbage(n int64) (a, b string) { return fmt.Sprint("garbage-", n), "/metrics" }
func paths(n int64) (a, b string)   { return "", fmt.Sprint("/", n) }
func longPaths(n int64) (a, b string) {
	return "", fmt.Sprint("/", n, "/", strings.Repeat("x", 2<<10))
}
func forged(n int64) (a, b string)  { return fmt.Sprint("eyJ1.garbage-", n, ".x"), "/metrics" }
func insider(n int64) (a, b string) { return "good-insider", fmt.Sprint("/", n) }

// During a flood, which costs the API server no more than it may, callers that
// are known never wait, and new ones hardly.
func TestFlood(t *testing.T) {
	for _, test := range []struct {
		name    string
		flood   func(int64) (token, path string)
		from    func(int) string
		refusal int
		own     bool
		honest  string // where the honest come from
		token   string // of the honest
		fresh   bool
	}{
		{"garbage tokens from the host of the honest", garbage, loopback, 401, false, "127.0.0.1:2000", "good-%d", false},
		{"garbage tokens from one host", garbage, loopback, 401, false, "192.0.2.7:2000", "good-%d", false},
		{"garbage tokens from many hosts", garbage, everywhere, 401, false, "192.0.2.7:2000", "good-%d", false},
		{"garbage tokens over fresh connections from the host of the honest", garbage, loopback, 401, false, "127.0.0.1:2000", "eyJ1.good-%d.x", true},
		{"forged tokens from one host", forged, loopback, 401, false, "192.0.2.7:2000", "eyJ1.good-%d.x", true},
		{"forged tokens from the host of the honest", forged, loopback, 401, false, "127.0.0.1:2000", "good-%d", false},
		{"paths of anonymous requests", paths, loopback, 403, true, "127.0.0.1:2000", "good-%d", false},
		{"long paths of anonymous requests", longPaths, loopback, 403, true, "127.0.0.1:2000", "good-%d", false},
		{"paths of a known user", insider, loopback, 403, true, "127.0.0.1:2000", "good-%d", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{AnonymousAuth: test.own}
				if test.own {
					cfg.RequestAttributes = AttributesNonResource
				}
				f := newFlooded(t, cfg)
				known := withSlot(t.Context(), nil)
				for _, token := range []string{fmt.Sprintf(test.token, -1), "good-known"} {
					if w := f.ask(known, test.honest, token, "/good"); w.Code != 200 {
						t.Fatal(w.Code)
					}
				}
				ctx, stop := context.WithTimeout(t.Context(), 8*time.Second)
				defer stop()
				before := f.api.reviews
				f.flood(ctx, 600, test.fresh, test.from, test.flood)
				honest := 0
				for time.Sleep(3 * time.Second); ctx.Err() == nil; time.Sleep(97 * time.Millisecond) {
					start := time.Now()
					if w := f.ask(known, test.honest, "good-known", "/good"); w.Code != 200 || time.Since(start) != 0 {
						t.Fatalf("a known caller got %d after %v", w.Code, time.Since(start))
					}
					w := f.ask(withSlot(t.Context(), nil), test.honest, fmt.Sprintf(test.token, honest), "/good")
					if took := time.Since(start); w.Code != 200 || took > 50*time.Millisecond {
						t.Fatalf("a new caller got %d after %v", w.Code, took)
					}
					honest += 2 // reviews
				}
				synctest.Wait()
				time.Sleep(10 * time.Second) // those who wait have gone, and all are well
				f.api.mu.Lock()
				defer f.api.mu.Unlock()
				if n := f.api.reviews - before - honest; n < 300 || n > 100+50*(8+5+1) {
					t.Errorf("the flood of 8 s, with those who waited 5 s more, cost %d reviews, of 50 a second and 100 at once", n)
				}
				if f.api.atOnce > maxReviewed+2 {
					t.Errorf("%d reviews at once", f.api.atOnce)
				}
				if f.count(429) == 0 || f.count(test.refusal) == 0 || f.count(200)+f.count(500) > 0 {
					t.Errorf("the flood got %d times 429, %d times %d", f.count(429), f.count(test.refusal), test.refusal)
				}
				if lines := strings.Count(f.log.String(), "\n"); lines > logBurst+20*logRate {
					t.Errorf("%d lines in the log", lines)
				}
				f.auth.Close()
			})
		})
	}
}

// While the API server hangs, those wait who need it, but not for long; as soon
// as it is back, everything is as before, in the middle of a flood.
func TestFloodWhileAPIServerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t, Config{})
		known := withSlot(t.Context(), nil)
		f.ask(known, "127.0.0.1:2000", "good-known", "/metrics")
		ctx, stop := context.WithTimeout(t.Context(), 40*time.Second)
		defer stop()
		f.flood(ctx, 200, false, loopback, garbage)
		f.api.hangs.Store(true)
		for i := range 30 {
			time.Sleep(time.Second)
			start := time.Now()
			if w := f.ask(known, "127.0.0.1:2000", "good-known", "/metrics"); w.Code != 200 || time.Since(start) != 0 {
				t.Fatalf("a known caller got %d after %v", w.Code, time.Since(start))
			}
			go func() {
				start := time.Now()
				w := f.ask(withSlot(t.Context(), nil), "127.0.0.1:2000", fmt.Sprint("good-early-", i), "/metrics")
				if took := time.Since(start); w.Code != 401 && w.Code != 429 && w.Code != 200 || took > 16*time.Second {
					t.Errorf("a new caller got %d after %v", w.Code, took)
				}
			}()
		}
		f.api.hangs.Store(false)
		time.Sleep(time.Second)
		for i := range 20 {
			start := time.Now()
			w := f.ask(withSlot(t.Context(), nil), "127.0.0.1:2000", fmt.Sprint("good-late-", i), "/metrics")
			if took := time.Since(start); w.Code != 200 || took > 50*time.Millisecond {
				t.Errorf("after the end, a new caller got %d after %v", w.Code, took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		<-ctx.Done()
		time.Sleep(20 * time.Second)
		f.auth.Close()
	})
}

// A token that was good waits for nobody when it is reviewed again; once it was
// refused, it does.
func TestKnownTokenPassesTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t, Config{KubeAPIQPS: 1, KubeAPIBurst: 1})
		f.ask(t.Context(), "192.0.2.7:1", "good-known", "/metrics")
		time.Sleep(3 * time.Minute) // it has expired
		for i := range 8 {
			go f.ask(t.Context(), "192.0.2.7:1", fmt.Sprint("garbage-", i), "/metrics")
		}
		synctest.Wait()
		start := time.Now()
		if w := f.ask(t.Context(), "192.0.2.7:1", "good-known", "/metrics"); w.Code != 200 || time.Since(start) > 10*time.Millisecond {
			t.Errorf("%d after %v", w.Code, time.Since(start))
		}
		time.Sleep(time.Minute)
		f.auth.Close()
	})
}

// A stranger who asks what everyone may ask, and waits for a turn in vain, has nobody
// from elsewhere wait with it.
func TestNobodyWaitsForTheTurnOfAStranger(t *testing.T) {
	for name, attributes := range map[string]string{"the table": "", "its own": AttributesNonResource} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlooded(t, Config{AnonymousAuth: true, RequestAttributes: attributes})
				ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
				defer stop()
				f.flood(ctx, 600, true, loopback, garbage)
				time.Sleep(2 * time.Second)
				f.flood(ctx, 40, false, loopback, func(int64) (token, path string) { return "", "/good" })
				time.Sleep(time.Second)
				start := time.Now()
				if w := f.ask(withSlot(t.Context(), nil), "192.0.2.7:2000", "", "/good"); w.Code != 200 || time.Since(start) > 50*time.Millisecond {
					t.Errorf("%d after %v", w.Code, time.Since(start))
				}
				<-ctx.Done()
				time.Sleep(20 * time.Second)
				f.auth.Close()
			})
		})
	}
}
