package kubeletapi

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/kubeclient"
)

// janes is an API server, until it is down.
type janes struct {
	reviews atomic.Int64
	down    atomic.Bool
}

func (j *janes) ReviewToken(context.Context, authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	if j.reviews.Add(1); j.down.Load() {
		return nil, &kubeclient.StatusError{Code: 503}
	}
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "jane"}}, nil
}

func (j *janes) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	if j.reviews.Add(1); j.down.Load() {
		return nil, &kubeclient.StatusError{Code: 503}
	}
	return &authz.SubjectAccessReviewStatus{Allowed: true}, nil
}

// A time that means for ever is not one that is over.
func TestForever(t *testing.T) {
	const forever, hour = time.Duration(math.MaxInt64), time.Hour
	for _, cfg := range []Config{
		{AuthorizationWebhookCacheAuthorizedTTL: forever, AuthenticationStaleIfError: hour, AuthorizationStaleIfError: hour},
		{AuthenticationTokenWebhookCacheTTL: forever, AuthenticationStaleIfError: hour, AuthorizationStaleIfError: hour},
		{AuthorizationWebhookCacheUnauthorizedTTL: forever, AuthenticationStaleIfError: hour, AuthorizationStaleIfError: hour},
		{AuthenticationStaleIfError: forever, AuthorizationStaleIfError: hour},
		{AuthenticationStaleIfError: forever, AuthorizationStaleIfError: forever},
		{AuthenticationTokenWebhookCacheTTL: forever, AuthorizationWebhookCacheAuthorizedTTL: forever, AuthenticationStaleIfError: forever, AuthorizationStaleIfError: forever},
	} {
		synctest.Test(t, func(t *testing.T) {
			api := &janes{}
			cfg := cfg
			cfg.AuthenticationTokenWebhook, cfg.AuthorizationMode, cfg.HostnameOverride, cfg.TokenReviewer, cfg.AccessReviewer, cfg.Logger = true, ModeWebhook, "n1", api, api, slog.New(slog.DiscardHandler)
			auth, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer auth.Close()
			guarded := auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			get := func() int {
				r, w := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
				r.Header.Set("Authorization", "Bearer a")
				guarded.ServeHTTP(w, r)
				return w.Code
			}
			if first, second := get(), get(); first != 200 || second != 200 || api.reviews.Load() != 2 {
				t.Errorf("%+v: %d, %d with %d reviews", cfg, first, second, api.reviews.Load())
			}
			api.down.Store(true)
			for range 40 {
				time.Sleep(10 * time.Second)
				if code := get(); code != 200 {
					t.Errorf("%+v: %d in an outage", cfg, code)
					break
				}
			}
		})
	}
}
