package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"weak"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/internal/tlsconfig"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

// census knows everyone whose name ends with a number. Of three in a row, the
// first may do nothing; it knows no token that begins with "bad".
type census struct{ tokens, accesses int }

func (c *census) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	c.tokens++
	user := authn.UserInfo{Username: spec.Token, UID: spec.Token, Groups: []string{"all", spec.Token}, Extra: map[string][]string{"jti": {spec.Token}}}
	return &authn.TokenReviewStatus{Authenticated: !strings.HasPrefix(spec.Token, "bad"), User: user}, nil
}

func (c *census) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	c.accesses++
	about := spec.User
	if spec.NonResourceAttributes != nil {
		about = spec.NonResourceAttributes.Path
	}
	return &authz.SubjectAccessReviewStatus{Allowed: mayCensus(about)}, nil
}

func mayCensus(about string) bool {
	n, _ := strconv.Atoi(about[strings.LastIndexByte(about, '-')+1:])
	return n%3 != 0
}

// More users, tokens, certificates or paths than are remembered take no more
// memory, push out the oldest, and get the answers that are theirs.
func TestMoreThanIsRemembered(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "ca")
	const certificates = 512
	bundle := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(bundle, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	var leaves [4 * certificates]*x509.Certificate
	for i := range leaves { // whose ends are in their order: those that end first give way
		end := time.Now().Add(time.Hour + time.Duration(i)*time.Second)
		leaves[i] = ca.MustIssue(t, apiservertest.Certificate{CommonName: fmt.Sprintf("user-%d", i), NotAfter: end}).Leaf
	}
	byToken := func(i int) *http.Request {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Authorization", fmt.Sprintf("Bearer user-%d", i))
		return r
	}
	for _, test := range []struct {
		name       string
		own        bool
		size       int // of what is filled
		request    func(i int) *http.Request
		tokens     int // reviews of a request that is new
		filled     func(*Auth) int
		afterwards func(*Auth) []int // the numbers of all else, which are bounded too
	}{
		{"tokens", false, maxIdentities, byToken, 1,
			func(a *Auth) int { return a.identities.byToken.Len() },
			func(a *Auth) []int { return []int{a.identities.byUser.Len(), a.identities.byCertificate.Len()} }},
		{"certificates", false, certificates, func(i int) *http.Request {
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaves[i]}}
			return r
		}, 0,
			func(a *Auth) int { return a.identities.byCertificate.Len() },
			func(a *Auth) []int { return []int{a.identities.byUser.Len(), a.identities.refusedChains.Len()} }},
		{"paths", true, maxOwn, func(i int) *http.Request {
			r := httptest.NewRequest("GET", fmt.Sprintf("/path-%d", i), nil)
			r.Header.Set("Authorization", "Bearer user-1")
			return r
		}, 0,
			func(a *Auth) int { return a.memory.others.Len() },
			func(a *Auth) []int { return []int{a.identities.byUser.Len(), a.identities.byToken.Len()} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := &census{}
			cfg := Config{ClientCAFile: bundle, AuthenticationTokenWebhook: true, AuthorizationMode: ModeWebhook, HostnameOverride: "n1", TokenReviewer: api, AccessReviewer: api,
				KubeAPIQPS: 1 << 20, KubeAPIBurst: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
			if test.own {
				cfg.RequestAttributes = AttributesNonResource
			}
			auth, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer auth.Close()
			if test.name == "certificates" { // of which it takes long to make thousands
				auth.identities.byCertificate = ttlcache.NewTable[identity](test.size)
				auth.identities.byUser = ttlcache.NewTable[decisions](test.size)
			}
			ask := func(i int) (reviews int) {
				before := api.tokens + api.accesses
				_, err := auth.Check(test.request(i))
				var refused *RefusedError
				if may := mayCensus(fmt.Sprint("-", i)); may != (err == nil) || !may && (!errors.As(err, &refused) || refused.Code != 403) {
					t.Fatalf("%d: %v", i, err)
				}
				return api.tokens + api.accesses - before
			}
			ask(1)
			for i := range 2 * test.size {
				ask(i)
			}
			full := heapInUse()
			for i := 2 * test.size; i < 4*test.size; i++ {
				if n := ask(i); n != 1+test.tokens {
					t.Fatalf("%d is new, and cost %d reviews", i, n)
				}
			}
			if more := heapInUse(); more > full+full/10 {
				t.Errorf("%d KiB in use when full, and %d KiB after as many again", full>>10, more>>10)
			}
			if n := test.filled(auth); n > test.size || n < test.size*9/10 {
				t.Errorf("%d are remembered, of %d", n, test.size)
			}
			for _, n := range test.afterwards(auth) {
				if n > maxUsers {
					t.Errorf("%d of something else", n)
				}
			}
			known := func(from, to int) float64 { // of those that are allowed: what is refused is kept for less long
				n, all := 0, 0
				for i := from; i < to; i++ {
					if !mayCensus(fmt.Sprint("-", i)) {
						continue
					}
					if all++; ask(i) == 0 {
						n++
					}
				}
				return float64(n) / float64(all)
			}
			if n := known(4*test.size-test.size/4, 4*test.size); n < 0.98 {
				t.Errorf("of the last %d, %.3f are remembered", test.size/4, n)
			}
			if n := known(0, test.size); n > 0.02 {
				t.Errorf("of the first %d, %.3f are remembered", test.size, n)
			}
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What is remembered of certificates keeps no authorities that were replaced.
func TestReplacedAuthoritiesAreNotKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	first := apiservertest.MustNewCA(t, "ca")
	if err := os.WriteFile(file, first.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	auth, err := New(Config{ClientCAFile: file, AuthorizationMode: ModeAlwaysAllow, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	var current *tlsconfig.Bundle
	auth.identities.roots = func(time.Time) *tlsconfig.Bundle { return current }
	var names []weak.Pointer[x509.CertPool]
	for range 10 {
		ca := apiservertest.MustNewCA(t, "ca")
		current = tlsconfig.NewBundle(ca.Pool())
		names = append(names, current.Name)
		for _, by := range []*apiservertest.CA{ca, first} {
			r := httptest.NewRequest("GET", "/metrics", nil)
			leaf := by.MustIssue(t, apiservertest.Certificate{CommonName: "ann", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).Leaf
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
			if _, err := auth.Check(r); (err == nil) != (by == ca) {
				t.Fatal(err)
			}
		}
	}
	runtime.GC()
	for i, name := range names {
		if kept := name.Value() != nil; kept != (i == len(names)-1) {
			t.Errorf("authorities %d: kept is %t", i, kept)
		}
	}
	runtime.KeepAlive(current)
}

// However many tokens are refused, what is known of the good ones stays.
func TestRefusedTokensPushOutNoGoodOne(t *testing.T) {
	api := &census{}
	auth, err := New(Config{AuthenticationTokenWebhook: true, AuthorizationMode: ModeWebhook, HostnameOverride: "n1", TokenReviewer: api, AccessReviewer: api,
		KubeAPIQPS: 1 << 20, KubeAPIBurst: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	ask := func(token string) (code int) {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		_, err := auth.Check(r)
		var refused *RefusedError
		if errors.As(err, &refused) {
			return refused.Code
		}
		return 200
	}
	ask("user-1")
	for i := range 4 * maxRefused {
		if code := ask(fmt.Sprint("bad-", i)); code != 401 {
			t.Fatal(code)
		}
	}
	before := *api
	if code := ask("user-1"); code != 200 || *api != before {
		t.Errorf("%d, after %d reviews", code, api.tokens+api.accesses-before.tokens-before.accesses)
	}
	if code := ask(fmt.Sprint("bad-", 4*maxRefused-1)); code != 401 || *api != before {
		t.Error("the last of them was not remembered")
	}
	if n := auth.identities.refusedTokens.Len(); n > maxRefused {
		t.Errorf("%d are remembered, of %d", n, maxRefused)
	}
}
