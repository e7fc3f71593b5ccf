package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

// silent is a TokenReviewer that says nothing until it is let go.
type silent struct{ asked, letGo chan struct{} }

func (s silent) ReviewToken(context.Context, authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	close(s.asked)
	<-s.letGo
	return nil, errors.New("no answer")
}

// Requests of one connection may be at both gates at once: that of certificates
// and that of tokens.
func TestOneConnectionAtBothGates(t *testing.T) {
	ours, api := filepath.Join(t.TempDir(), "ca"), silent{make(chan struct{}), make(chan struct{})}
	os.WriteFile(ours, apiservertest.MustNewCA(t, "ours").PEM(), 0o600)
	auth, err := New(Config{ClientCAFile: ours, AuthenticationTokenWebhook: true, AuthorizationMode: ModeAlwaysAllow, HostnameOverride: "n1", TokenReviewer: api, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	stranger := apiservertest.MustNewCA(t, "another").MustIssue(t, apiservertest.Certificate{CommonName: "mallory", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	connection := withSlot(t.Context(), nil)
	ask := func(token string) {
		r := httptest.NewRequestWithContext(connection, "GET", "/metrics", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{stranger.Leaf}}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		auth.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	}
	var all sync.WaitGroup
	all.Go(func() { ask("a") })
	<-api.asked
	os.WriteFile(ours, apiservertest.MustNewCA(t, "new").PEM(), 0o600)
	auth.clientCA.Reload() // or ten seconds later, when the refusal is forgotten
	all.Go(func() { ask("") })
	close(api.letGo)
	all.Wait()
}
