package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/internal/tlsconfig"
)

// truth is what an API server says now, and when it began to say so.
type truth struct {
	mu      sync.Mutex
	history map[string][]change
	failing atomic.Bool
	asked   atomic.Int64
}

type change struct {
	at  time.Time
	yes bool
}

func (w *truth) set(question string, yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history[question] = append(w.history[question], change{time.Now(), yes})
}

func (w *truth) ask(question string) (bool, error) {
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked.Add(1)
	if w.failing.Load() {
		return false, errors.New("the API server is down")
	}
	h := w.history[question]
	return len(h) > 0 && h[len(h)-1].yes, nil
}

// was reports whether the answer was yes (or no) at some moment of the last ttl.
func (w *truth) was(question string, yes bool, ttl time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	current := false
	ttl += time.Second // of one review
	for _, c := range w.history[question] {
		if c.at.After(time.Now().Add(-ttl)) && current == yes {
			return true
		}
		current = c.yes
	}
	return current == yes
}

func (w *truth) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	yes, err := w.ask(spec.Token)
	return &authn.TokenReviewStatus{Authenticated: yes, User: authn.UserInfo{Username: spec.Token}}, err
}

func (w *truth) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	yes, err := w.ask(spec.User + spec.ResourceAttributes.Subresource)
	return &authz.SubjectAccessReviewStatus{Allowed: yes}, err
}

// Every answer is one that the API server gave within the time for which such
// an answer may be remembered, whatever happens in between: tokens revoked and
// granted, access too, the client CA replaced, the API server down.
func TestAgainstModel(t *testing.T) {
	seed := [2]uint64{rand.Uint64(), rand.Uint64()}
	t.Logf("seed %v", seed)
	// A bubble begins with the year 2000, and keys cannot be made in one where
	// cryptography is that of FIPS 140, whose source of entropy is time.
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, err := apiservertest.MustNewCA(t, "root").IssueCA(apiservertest.Certificate{CommonName: "a", NotBefore: begin.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	pools := [2]*x509.CertPool{ca.Pool(), apiservertest.MustNewCA(t, "b").Pool()}
	leaf := ca.MustIssue(t, apiservertest.Certificate{CommonName: "cert", NotBefore: begin.Add(-time.Hour), NotAfter: begin.Add(3 * time.Hour)}).Leaf
	synctest.Test(t, func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed[0], seed[1])), pools, leaf) })
}

func runModel(t *testing.T, rng *rand.Rand, pools [2]*x509.CertPool, leaf *x509.Certificate) {
	world := &truth{history: map[string][]change{}}
	auth, err := New(Config{
		AuthenticationTokenWebhook: true, AuthorizationMode: ModeWebhook, HostnameOverride: "n1",
		TokenReviewer: world, AccessReviewer: world, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	inForce := 0
	auth.identities.roots = func(time.Time) *tlsconfig.Bundle { return tlsconfig.NewBundle(pools[inForce]) }
	names, paths := []string{"t1", "t2", "t3", "cert"}, []string{"stats", "metrics", "proxy"}

	var connections [5]context.Context // that all callers share; one has no slot
	for i := range connections {
		connections[i] = withSlot(t.Context(), nil)
	}
	connections[0] = t.Context()
	requests, refused := 0, 0
	for range 20_000 {
		name, path := names[rng.IntN(4)], paths[rng.IntN(3)]
		switch n := rng.IntN(100); {
		case n < 6:
			world.set(name, rng.IntN(3) > 0)
		case n < 12:
			world.set(name+path, rng.IntN(3) > 0)
		case n < 13:
			inForce = 1 - inForce
		case n < 14 && (world.failing.Load() || rng.IntN(4) == 0):
			world.failing.Store(!world.failing.Load())
		case n < 40:
			time.Sleep(time.Duration(rng.IntN(8)) * time.Second)
		default:
			requests++
			if !checkAnswer(connections[rng.IntN(5)], t, auth, world, name, path, leaf, inForce == 0) {
				refused++
			}
		}
	}
	auth.Close()
	t.Logf("%d requests, %d of them refused, %d reviews", requests, refused, int(world.asked.Load()))
	if int(world.asked.Load())*2 > requests || refused == 0 || refused == requests {
		t.Error("that was no test of a cache")
	}
}

func checkAnswer(connection context.Context, t *testing.T, auth *Auth, world *truth, name, path string, leaf *x509.Certificate, caInForce bool) (allowed bool) {
	r := httptest.NewRequest("GET", "/"+path, nil).WithContext(connection)
	known := func(yes bool, ttl time.Duration) bool { return world.was(name, yes, ttl) }
	if name == "cert" {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		valid := caInForce && time.Now().Before(leaf.NotAfter)
		known = func(yes bool, _ time.Duration) bool { return yes == valid }
	} else {
		r.Header.Set("Authorization", "Bearer "+name)
	}
	_, err := auth.Check(r)
	var refused *RefusedError
	errors.As(err, &refused)
	switch {
	case err == nil && known(true, 2*time.Minute) && world.was(name+path, true, 5*time.Minute):
	case err != nil && refused.Code == 401 && (known(false, 10*time.Second) || world.failing.Load() && name != "cert"):
	case err != nil && refused.Code == 403 && known(true, 2*time.Minute) && world.was(name+path, false, 30*time.Second):
	case err != nil && refused.Code == 500 && world.failing.Load():
	default:
		t.Fatalf("%s asked for %s: %v", name, path, err)
	}
	return err == nil
}
