package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
)

// agreeable accepts every token and every access.
type agreeable struct{}

func (agreeable) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{
		Username: "system:serviceaccount:monitoring:prometheus", UID: "0b1d9f9e-6f1f-4b9d-9a53-1f1c3d2b4a5e",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:monitoring"},
		Extra:  map[string][]string{"authentication.kubernetes.io/credential-id": {spec.Token[:8]}},
	}}, nil
}

func (agreeable) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	return &authz.SubjectAccessReviewStatus{Allowed: true}, nil
}

// hotPaths are the requests whose decision is remembered, by name.
func hotPaths(t testing.TB) map[string]func() error {
	ca := apiservertest.MustNewCA(t, "ca")
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	newAuth := func(mode, attributes string) *Auth {
		auth, err := New(Config{
			RequestAttributes: attributes,
			AnonymousAuth:     true, ClientCAFile: file, AuthenticationTokenWebhook: true, AuthorizationMode: mode,
			HostnameOverride: "n1", TokenReviewer: agreeable{}, AccessReviewer: agreeable{}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return auth
	}
	webhook, allow := newAuth(ModeWebhook, ""), newAuth(ModeAlwaysAllow, "")
	anonymous := httptest.NewRequest("GET", "/metrics", nil)
	token := httptest.NewRequest("GET", "/metrics", nil)
	token.Header.Set("Authorization", "Bearer "+strings.Repeat("t", 1024))
	certificate := httptest.NewRequest("GET", "/metrics", nil)
	leaf := ca.MustIssue(t, apiservertest.Certificate{CommonName: "ann", Organizations: []string{"ops"}}).Leaf
	certificate.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	check := func(auth *Auth, r *http.Request) func() error {
		return func() error { _, err := auth.Check(r); return err }
	}
	connected := func(r *http.Request) *http.Request { return r.WithContext(withSlot(t.Context(), nil)) }
	shared := connected(token)
	other := shared.Clone(shared.Context())
	other.Header.Set("Authorization", "Bearer "+strings.Repeat("o", 1024))
	if err := check(webhook, other)(); err != nil { // the slot's
		t.Fatal(err)
	}
	return map[string]func() error{
		"token":                   check(webhook, token),
		"token/connection":        check(webhook, connected(token)),
		"token/shared connection": check(webhook, shared),
		"certificate":             check(webhook, certificate),
		"certificate/connection":  check(webhook, connected(certificate)),
		"anonymous/Webhook":       check(webhook, anonymous),
		"anonymous/AlwaysAllow":   check(allow, anonymous),
		"anonymous/nonresource":   check(newAuth(ModeWebhook, AttributesNonResource), anonymous),
	}
}

// A decision that is remembered costs no allocation.
func TestRememberedDecisionsAllocateNothing(t *testing.T) {
	for name, check := range hotPaths(t) {
		if err := check(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(1000, func() { check() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	for name, check := range hotPaths(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := check(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAttributes(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newQuestion("GET", "/metrics/cadvisor", true)
	}
}

// numerous accepts every token, of a user of its own with what an API server says
// of a service account.
type numerous struct{ agreeable }

func (numerous) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	status, id := new(authn.TokenReviewStatus), spec.Token[:16]
	return status, json.Unmarshal(fmt.Appendf(nil, `{"authenticated": true, "user": {"username": "system:serviceaccount:monitoring:%s",
		"uid": "0b1d9f9e-6f1f-4b9d-9a53-1f1c3d2b4a5e", "groups": ["system:serviceaccounts", "system:serviceaccounts:monitoring"],
		"extra": {"authentication.kubernetes.io/credential-id": ["JTI=%s"], "authentication.kubernetes.io/node-name": ["n1"],
		"authentication.kubernetes.io/pod-name": ["prometheus-%s"]}}}`, id, id, id), status)
}

// An identity with two decisions takes less than 1 KB, by the median of some
// rounds: what tests before left behind may go in one.
func TestIdentitiesAreSmall(t *testing.T) {
	sizes := []int64{identitySize(t), identitySize(t), identitySize(t)}
	slices.Sort(sizes)
	if t.Logf("%d bytes", sizes); sizes[1] <= 0 || sizes[1] >= 1000 {
		t.Errorf("%d bytes", sizes[1])
	}
}

func identitySize(t *testing.T) int64 {
	auth, err := New(Config{AuthenticationTokenWebhook: true, AuthorizationMode: ModeWebhook, HostnameOverride: "n1", TokenReviewer: numerous{}, AccessReviewer: numerous{}})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	heap := func() int64 {
		for last := uint64(math.MaxUint64); ; {
			now := heapInUse()
			if now+64<<10 > last { // it no longer shrinks
				return int64(now)
			}
			last = now
			time.Sleep(250 * time.Millisecond)
		}
	}
	const n = maxIdentities / 2
	empty := heap()
	for i := range n {
		for _, path := range []string{"/metrics", "/stats/summary"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Authorization", fmt.Sprintf("Bearer %016d%01008d", i, i))
			if _, err := auth.Check(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return (heap() - empty) / n
}

// The filter around a handler costs one allocation, in which the user is.
func TestHandlerAllocatesOnce(t *testing.T) {
	auth, err := New(Config{AuthenticationTokenWebhook: true, AuthorizationMode: ModeWebhook, HostnameOverride: "n1", TokenReviewer: agreeable{}, AccessReviewer: agreeable{}})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	passed := 0
	handler := auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if user, ok := authn.UserFrom(r.Context()); ok && user.Username != "" && len(r.Header) == 0 {
			passed++
		}
	}))
	first := httptest.NewRequest("GET", "/metrics", nil)
	credential := []string{"Bearer " + strings.Repeat("t", 1024)}
	w, r := httptest.NewRecorder(), new(http.Request)
	if n := testing.AllocsPerRun(100, func() {
		*r = *first
		r.Header["Authorization"] = credential
		handler.ServeHTTP(w, r)
	}); n != 1 || passed != 101 {
		t.Errorf("%v allocations, %d of 101 requests passed", n, passed)
	}
}
