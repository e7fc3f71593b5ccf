package kubeletapi

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

// revocable returns a filter that remembers tokens for 20 seconds, and what takes
// them back.
func revocable(t *testing.T) (*Auth, *atomic.Bool) {
	revoked := new(atomic.Bool)
	auth, err := New(Config{AuthenticationTokenWebhook: true, AuthenticationTokenWebhookCacheTTL: 20 * time.Second, AuthorizationMode: ModeAlwaysAllow, Logger: slog.New(slog.DiscardHandler),
		TokenReviewer: reviewer(func(string) (*authn.TokenReviewStatus, error) {
			return &authn.TokenReviewStatus{Authenticated: !revoked.Load(), User: authn.UserInfo{Username: "jane"}}, nil
		})})
	if err != nil {
		t.Fatal(err)
	}
	return auth, revoked
}

// However often a caller comes, what was taken back ends with its TTL.
func TestBusyCallerIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth, revoked := revocable(t)
		defer auth.Close()
		start := time.Now()
		for time.Since(start) < time.Minute {
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.Header.Set("Authorization", "Bearer x")
			if _, err := auth.Check(r); err != nil {
				t.Log("refused after", time.Since(start))
				time.Sleep(time.Second)
				return
			}
			revoked.Store(true)
			time.Sleep(50 * time.Millisecond)
		}
		t.Error("a token that was revoked a minute ago is accepted")
		time.Sleep(time.Second)
	})
}

// In a process that was stopped and goes on, the horizon is an old one until the
// timers run: Handler does not go by it.
func TestHandlerGoesByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth, revoked := revocable(t)
		defer auth.Close()
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Authorization", "Bearer x")
		if _, err := auth.Check(r); err != nil {
			t.Fatal(err)
		}
		before := auth.clock.Horizon()
		revoked.Store(true)
		time.Sleep(time.Minute)
		moment := reflect.ValueOf(&auth.clock).Elem().FieldByName("moment").Addr().UnsafePointer()
		(*atomic.Pointer[ttlcache.Horizon])(moment).Store(before)
		if _, err := auth.Check(r); err != nil {
			t.Fatal("the horizon is not the old one:", err)
		}
		w := httptest.NewRecorder()
		if auth.Handler(http.NotFoundHandler()).ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("%d for a token that was revoked a minute ago", w.Code)
		}
	})
}
