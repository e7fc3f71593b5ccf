package kubeletapi

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/tlsconfig"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

// What became known while a chain waited for its turn counts: the roots of then, and
// what was found out about it. One that was good does not wait.
func TestTurnOfAChain(t *testing.T) {
	ca, other := testCA(t), testCA(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	ours, both, theirs := ca.Pool(), ca.Pool(), other.Pool()
	both.AppendCertsFromPEM(other.PEM())
	for name, tt := range map[string]struct {
		by            *apiservertest.CA
		before, after *x509.CertPool // in force when it comes, and when its turn does
		good          bool           // it was, before it comes
		want          bool
		waits         int
	}{
		"good":                     {ca, ours, ours, false, true, 20},
		"bad":                      {other, ours, ours, false, false, 20},
		"its authority is gone":    {ca, ours, theirs, false, false, 20},
		"its authority has come":   {other, ours, both, false, true, 20},
		"was good, and is":         {ca, both, both, true, true, 0},
		"was good, and is no more": {ca, theirs, theirs, true, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			auth, err := New(Config{HostnameOverride: "n1", ClientCAFile: file, AuthorizationMode: ModeAlwaysAllow})
			if err != nil {
				t.Fatal(err)
			}
			defer auth.Close()
			ids := auth.identities
			ids.verifications.Concurrent = 1 // or two find out the same at once
			var roots atomic.Pointer[x509.CertPool]
			ids.roots = func(time.Time) *tlsconfig.Bundle { return tlsconfig.NewBundle(roots.Load()) }
			pair, err := tt.by.Issue(apiservertest.Certificate{CommonName: "ann"})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}}
			if tt.good {
				roots.Store(ours)
				if id, err := ids.certificate(r, auth.clock.Horizon()); id == nil {
					t.Fatal(err)
				}
			}
			roots.Store(tt.before)
			turn := make(chan struct{})
			var all sync.WaitGroup
			for range ids.verifications.Concurrent {
				all.Go(func() {
					ids.verifications.Do(t.Context(), fair.Source{}, func() fair.Outcome { <-turn; return fair.Good })
				})
			}
			for inside := 0; inside < ids.verifications.Concurrent; inside, _ = ids.verifications.Len() {
				time.Sleep(time.Millisecond)
			}
			var mu sync.Mutex
			found, errs := map[*identity]int{}, map[error]int{}
			ask := func() {
				id, err := ids.certificate(r.Clone(r.Context()), auth.clock.Horizon())
				mu.Lock()
				defer mu.Unlock()
				found[id]++
				errs[err]++
			}
			for range tt.waits {
				all.Go(ask)
			}
			for waiting := 0; waiting < tt.waits; _, waiting = ids.verifications.Len() {
				time.Sleep(time.Millisecond)
			}
			if tt.waits == 0 {
				ask()
			}
			roots.Store(tt.after)
			close(turn)
			all.Wait()
			if len(found) != 1 || len(errs) != 1 || found[nil] == 0 != tt.want {
				t.Errorf("%d identities, and %v", len(found), errs)
			}
		})
	}
}

// A chain that a stranger can make as long as a quarter of a megabyte, and send
// requests with that are all refused, is looked through once for a connection.
func TestLongChainIsReadOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, testCA(t).PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := testCA(t)
	leaf := func() *x509.Certificate {
		return stranger.MustIssue(t, apiservertest.Certificate{CommonName: "ann"}).Leaf
	}
	first, other := leaf(), leaf()
	for _, tt := range []struct {
		name  string
		slot  bool
		leafs []*x509.Certificate // of the requests of a connection
		reads int64
	}{
		{"one connection", true, []*x509.Certificate{first, first, first}, 1},
		{"no connection that is known", false, []*x509.Certificate{first, first, first}, 3},
		{"another leaf", true, []*x509.Certificate{first, other, other, first}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			auth, err := New(Config{HostnameOverride: "n1", ClientCAFile: file, AuthorizationMode: ModeAlwaysAllow})
			if err != nil {
				t.Fatal(err)
			}
			defer auth.Close()
			ctx := t.Context()
			if tt.slot {
				ctx = withSlot(ctx, nil)
			}
			for i, leaf := range tt.leafs {
				r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
				rest := &x509.Certificate{Raw: []byte{byte(i)}} // whoever reads it takes it for another chain, and verifies that
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, rest}}
				if _, err := auth.Check(r); err == nil {
					t.Error("accepted")
				}
			}
			if n := auth.metrics.certificateLifetime.Count(); n != tt.reads {
				t.Errorf("read %d times", n)
			}
		})
	}
}

func testCA(t *testing.T) *apiservertest.CA {
	ca, err := apiservertest.NewCA("ca")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// Whoever could make a chain that has the key of another is who its own certificate
// says, as the private key is not that of the other.
func TestKeyOfAnotherChain(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "ca")
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	auth, err := New(Config{HostnameOverride: "n1", ClientCAFile: file, AuthorizationMode: ModeAlwaysAllow})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	request := func(name string) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{ca.MustIssue(t, apiservertest.Certificate{CommonName: name}).Leaf}}
		return r
	}
	ann, eve := request("ann"), request("eve")
	for range 2 {
		if user, err := auth.Check(ann); err != nil || user.Username != "ann" {
			t.Fatalf("got %v, %v", user, err)
		}
	}
	ids, now := auth.identities, time.Now()
	known, ok := ids.byCertificate.Get(ids.keys.Chain(ann.TLS.PeerCertificates), now)
	if !ok {
		t.Fatal("ann is not known")
	}
	shared := &ttlcache.Entry[identity]{Key: ids.keys.Chain(eve.TLS.PeerCertificates)}
	shared.Value.user, shared.Value.verification = known.user, known.verification
	shared.Value.beginFixed(now, time.Hour)
	ids.byCertificate.Put(shared, now, time.Hour)
	if user, err := auth.Check(eve); err != nil || user.Username != "eve" {
		t.Errorf("eve is %v, %v", user, err)
	}
}
