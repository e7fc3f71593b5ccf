package kubeletapi_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
)

// eventually waits for what happens within a few seconds.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after 30 seconds", what)
		}
	}
}

func TestCheckClientCA(t *testing.T) {
	w := newWorld(t).start()
	check := func() error { return w.auth.CheckClientCA(t.Context()) }
	if err := check(); err != nil {
		t.Error(err)
	}
	w.file("ca.crt", []byte("none"))
	eventually(t, "a bad file", func() bool { return check() != nil })
	w.file("ca.crt", w.ca.PEM())
	eventually(t, "the good file again", func() bool { return check() == nil })
	if err := new(kubeletapi.Auth).CheckClientCA(t.Context()); err != nil {
		t.Errorf("without one: %v", err)
	}
}

// yes is an AccessReviewer who allows everything.
type yes struct{}

func (yes) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	return &authz.SubjectAccessReviewStatus{Allowed: true}, nil
}

// nobody is a TokenReviewer who accepts none.
type nobody struct{}

func (nobody) ReviewToken(context.Context, authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	return new(authn.TokenReviewStatus), nil
}

func TestCheckAPIServer(t *testing.T) {
	for _, mode := range []string{kubeletapi.ModeWebhook, kubeletapi.ModeAlwaysAllow} {
		w := newWorld(t)
		w.cfg.AuthorizationMode = mode
		w.start()
		for range 3 {
			if err := w.auth.CheckAPIServer(t.Context()); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
		}
		reviews := w.api.Reviews()
		if len(reviews) != 1 {
			t.Fatalf("%s: %d reviews for three checks in a moment, want 1", mode, len(reviews))
		}
		if access := reviews[0].Access; (access != nil) != (mode == kubeletapi.ModeWebhook) || access != nil && (access.User != "system:anonymous" || access.NonResourceAttributes == nil) {
			t.Errorf("%s: %+v", mode, reviews[0])
		}
	}
	w := newWorld(t) // whose API server is for tokens only
	w.cfg.AccessReviewer = yes{}
	w.start()
	if err := w.auth.CheckAPIServer(t.Context()); err != nil {
		t.Errorf("own AccessReviewer: %v", err)
	}
	if reviews := w.api.Reviews(); len(reviews) != 1 || reviews[0].Access != nil {
		t.Errorf("own AccessReviewer: %+v", reviews)
	}
	w = newWorld(t) // whose API server is for access only, and its Authorizer somebody's own later
	w.cfg.TokenReviewer = nobody{}
	w.start()
	w.auth.Authorizer = struct{ authz.Authorizer }{w.auth.Authorizer}
	if err := w.auth.CheckAPIServer(t.Context()); err != nil {
		t.Errorf("own TokenReviewer: %v", err)
	}
	if reviews := w.api.Reviews(); len(reviews) != 1 || reviews[0].Access == nil {
		t.Errorf("own TokenReviewer: %+v", reviews)
	}
	if err := new(kubeletapi.Auth).CheckAPIServer(t.Context()); err != nil {
		t.Errorf("without one: %v", err)
	}
}

// Whoever does not wait for the result does not make it a bad one for others.
func TestCheckAPIServerOfOneWhoLeaves(t *testing.T) {
	w := newWorld(t).start()
	gone, leave := context.WithCancel(t.Context())
	leave()
	w.auth.CheckAPIServer(gone)
	if err := w.auth.CheckAPIServer(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCheckAPIServerDown(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.Close()
	if err := w.auth.CheckAPIServer(t.Context()); err == nil {
		t.Error("an API server that is down is no error")
	}
}

func TestCheckCertificate(t *testing.T) {
	if err := new(kubeletapi.Server).CheckCertificate(t.Context()); err == nil {
		t.Error("a server that does not serve is ready")
	}
	for _, tt := range []struct {
		from, to time.Duration
		ready    bool
	}{
		{-time.Hour, time.Hour, true}, {-2 * time.Hour, -time.Hour, false}, {time.Hour, 2 * time.Hour, false},
	} {
		w := newWorld(t)
		pair := w.ca.MustIssue(t, apiservertest.Certificate{
			CommonName: "node", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: serverAuth,
			NotBefore: time.Now().Add(tt.from), NotAfter: time.Now().Add(tt.to),
		})
		w.file("tls.crt", apiservertest.CertPEM(pair))
		w.file("tls.key", apiservertest.KeyPEM(pair))
		auth, err := kubeletapi.New(w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close()
		server := &kubeletapi.Server{Config: w.cfg, Auth: auth, Ready: nil}
		w.serve(server)
		check := func() bool { return (server.CheckCertificate(t.Context()) == nil) == tt.ready }
		eventually(t, "ready as the certificate is", check)
		eventually(t, "the log has it if it is not", func() bool { return strings.Contains(w.log.String(), "who verify the serving certificate") != tt.ready })
	}
}
