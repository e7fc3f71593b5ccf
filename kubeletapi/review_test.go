package kubeletapi

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/kubeclient"
)

// What a real client says of each fault is taken for what it is.
func TestUnavailableAPIServer(t *testing.T) {
	other := apiservertest.MustNewCA(t, "other")
	for _, test := range []struct {
		name string
		do   func(*apiservertest.Server)
		want bool
	}{
		{"stopped", (*apiservertest.Server).Stop, true},
		{"hangs", inject(apiservertest.Fault{Latency: time.Minute}), true},
		{"closes", inject(apiservertest.Fault{Break: apiservertest.BreakClose}), true},
		{"resets in the middle", inject(apiservertest.Fault{Break: apiservertest.BreakReset}), true},
		{"500", inject(apiservertest.Fault{Status: 500}), true},
		{"503", inject(apiservertest.Fault{Status: 503}), true},
		{"401", inject(apiservertest.Fault{Status: 401}), false},
		{"403", inject(apiservertest.Fault{Status: 403}), false},
		{"404", inject(apiservertest.Fault{Status: 404}), false},
		{"429", inject(apiservertest.Fault{Status: 429}), false},
		{"another kind", inject(apiservertest.Fault{Break: apiservertest.BreakKind}), false},
		{"empty", inject(apiservertest.Fault{Break: apiservertest.BreakEmpty}), false},
		{"too large", inject(apiservertest.Fault{Break: apiservertest.BreakOversize}), false},
		{"contradicts itself", inject(apiservertest.Fault{Break: apiservertest.BreakContradict}), false},
		{"another authority's certificate", func(s *apiservertest.Server) {
			s.SetCertificate(other.MustIssue(t, apiservertest.Certificate{CommonName: "x", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			api := apiservertest.MustStart(t, apiservertest.Config{})
			path := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(path, api.Kubeconfig(""), 0o600); err != nil {
				t.Fatal(err)
			}
			client, err := kubeclient.New(kubeclient.Config{Kubeconfig: path, Timeout: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			test.do(api)
			_, _, err = authz.Webhook{Reviewer: client}.Authorize(t.Context(), authz.Attributes{User: &authn.UserInfo{Username: "jane"}, Verb: "get", Path: "/"})
			if err == nil || kubeclient.IsUnavailable(err) != test.want {
				t.Errorf("%v: %v, not %v", err, !test.want, test.want)
			}
		})
	}
}

func inject(f apiservertest.Fault) func(*apiservertest.Server) {
	return func(s *apiservertest.Server) { s.Inject(apiservertest.SubjectAccessReviews, f) }
}

// A reviewer that panics keeps nobody's place.
func TestPanickingReviewer(t *testing.T) {
	for _, kind := range []string{AttributesKubelet, AttributesNonResource} {
		p := &panicking{panics: true}
		auth, err := New(Config{AuthorizationMode: ModeWebhook, AuthenticationTokenWebhook: true, HostnameOverride: "n1", RequestAttributes: kind, AnonymousAuth: true,
			TokenReviewer: p, AccessReviewer: p, KubeAPIQPS: 10_000, KubeAPIBurst: 10_000, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(token string, i int) (code int) {
			r := httptest.NewRequest("GET", fmt.Sprint("/", i), nil)
			if token != "" {
				r.Header.Set("Authorization", fmt.Sprint("Bearer ", token, i))
			}
			_, err := auth.Check(r)
			var refused *RefusedError
			if errors.As(err, &refused) {
				return refused.Code
			}
			return 200
		}
		for i := range 2 * maxReviewed {
			if token, anonymous := ask("token", i), ask("", i); token != 401 || anonymous != 500 {
				t.Fatalf("%d and %d", token, anonymous)
			}
		}
		p.panics = false
		if token, anonymous := ask("good", 1), ask("", 9999); token != 200 || anonymous != 200 {
			t.Errorf("%s: afterwards %d and %d", kind, token, anonymous)
		}
		for _, gate := range []interface{ Len() (int, int) }{auth.strangers, auth.insiders} {
			if inside, waiting := gate.Len(); inside+waiting > 0 {
				t.Errorf("%d inside, %d waiting", inside, waiting)
			}
		}
		auth.Close()
	}
}

type panicking struct{ panics bool }

func (p *panicking) ReviewToken(context.Context, authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	if p.panics {
		panic("as told")
	}
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "jane"}}, nil
}

func (p *panicking) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	if p.panics {
		panic("as told")
	}
	return &authz.SubjectAccessReviewStatus{Allowed: true}, nil
}

// What one filter knows of a connection is nothing to another.
func TestFiltersShareNoConnection(t *testing.T) {
	strict := &moody{refuse: true}
	var filters []*Auth
	for _, api := range []*moody{{}, strict} {
		auth, err := New(Config{AuthorizationMode: ModeAlwaysAllow, AuthenticationTokenWebhook: true, HostnameOverride: "n1", TokenReviewer: api})
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close()
		filters = append(filters, auth)
	}
	connection := withSlot(t.Context(), nil)
	var callers sync.WaitGroup
	for i := range 10 {
		r := httptest.NewRequest("GET", "/", nil).WithContext(connection)
		r.Header.Set("Authorization", "Bearer t")
		if _, err := filters[0].Check(r); err != nil {
			t.Fatal(err)
		}
		callers.Go(func() { // and no two of them write to it
			r := r.Clone(connection)
			r.Header.Set("Authorization", fmt.Sprint("Bearer ", i))
			filters[i%2].Check(r)
		})
		if user, err := filters[1].Check(r); err == nil {
			t.Fatalf("the other filter takes %v for granted", user)
		}
	}
	callers.Wait()
}

// The log says which role this server lacks; a flood of requests does not keep
// it from telling of a file.
func TestLogOfReviewsAndReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		api := &moody{access: &kubeclient.StatusError{Code: http.StatusForbidden}}
		cfg := Config{AuthorizationMode: ModeWebhook, AnonymousAuth: true, HostnameOverride: "n1", AccessReviewer: api, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		auth, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close()
		for range 3 * logBurst {
			auth.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}
		if !strings.Contains(log.String(), "system:auth-delegator") || strings.Count(log.String(), "\n") > 2*logBurst {
			t.Errorf("%d lines: %.1000s", strings.Count(log.String(), "\n"), &log)
		}
		cfg.reportReload(&auth.metrics, "client-ca-file")(errors.New("no certificate"))
		if !strings.Contains(log.String(), "no certificate") {
			t.Error("not told of the file")
		}
		var metrics bytes.Buffer
		auth.WriteMetrics(&metrics)
		if !strings.Contains(metrics.String(), `kubeletauth_reload_total{file="client-ca-file",status="ok"} 0`) {
			t.Errorf("a count does not begin at zero:\n%s", &metrics)
		}
	})
}
