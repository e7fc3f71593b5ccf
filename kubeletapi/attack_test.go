package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
)

// A stranger's certificate costs no more memory than another, however large it
// is, and no more time to print.
func TestRefusedCertificatesAreSmall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, apiservertest.MustNewCA(t, "ca").PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	auth, err := New(Config{ClientCAFile: file, AuthorizationMode: ModeAlwaysAllow, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	stranger := apiservertest.MustNewCA(t, "stranger")
	for name, c := range map[string]apiservertest.Certificate{
		"extension": {Modify: func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 200<<10)}}
		}},
		"serial": {SerialNumber: new(big.Int).Lsh(big.NewInt(1), 800_000)},
		"key id": {SubjectKeyID: make([]byte, 100<<10)},
		"name":   {CommonName: strings.Repeat("x", 100<<10)},
	} {
		leaf := stranger.MustIssue(t, c).Leaf
		r := httptest.NewRequest("GET", "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		_, err := auth.Check(r)
		if err == nil || len(err.Error()) > 2<<10 || errors.As(err, new(x509.UnknownAuthorityError)) || !errors.As(err, new(*authn.InvalidCertificateError)) {
			t.Errorf("%s: an error of %d bytes that may hold the certificate: %.200v", name, len(err.Error()), err)
		}
	}
}

// reviewer answers as the test wants.
type reviewer func(token string) (*authn.TokenReviewStatus, error)

func (f reviewer) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	return f(spec.Token)
}

// Whatever a reviewer does instead of an answer, a token does not become
// anonymous.
func TestNoAnswerIsNobody(t *testing.T) {
	for name, f := range map[string]reviewer{
		"nil":    func(string) (*authn.TokenReviewStatus, error) { return nil, nil },
		"panic":  func(string) (*authn.TokenReviewStatus, error) { panic("no") },
		"goexit": func(string) (*authn.TokenReviewStatus, error) { runtime.Goexit(); return nil, nil },
		"nameless": func(string) (*authn.TokenReviewStatus, error) {
			return &authn.TokenReviewStatus{Authenticated: true}, nil
		},
		"error": func(string) (*authn.TokenReviewStatus, error) { return nil, errors.New("no") },
		"both": func(string) (*authn.TokenReviewStatus, error) {
			return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "jane"}}, errors.New("no")
		},
	} {
		auth, err := New(Config{AnonymousAuth: true, AuthenticationTokenWebhook: true, TokenReviewer: f, AuthorizationMode: ModeAlwaysAllow, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer x")
		for range 2 { // the second time, from memory
			if u, err := auth.Check(r); err == nil || err.(*RefusedError).Code != http.StatusUnauthorized {
				t.Errorf("%s: %v, %v", name, u, err)
			}
		}
	}
}

type always struct {
	u  *authn.UserInfo
	ok bool
}

func (a always) AuthenticateRequest(*http.Request) (*authn.UserInfo, bool, error) {
	return a.u, a.ok, nil
}

// Whoever is not known by name is refused, and an authenticator of one's own
// takes the place of New's.
func TestAuthenticators(t *testing.T) {
	jane := &authn.UserInfo{Username: "jane"}
	made, err := New(Config{AnonymousAuth: true, AuthorizationMode: ModeWebhook, AccessReviewer: agreeable{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		a    authn.Authenticator
		want string
	}{
		{"none", nil, ""},
		{"nobody", always{nil, true}, ""},
		{"no name", always{&authn.UserInfo{UID: "7"}, true}, ""},
		{"no opinion", always{jane, false}, ""},
		{"jane", always{jane, true}, "jane"},
	} {
		auth := &Auth{Authenticator: tt.a, Authorizer: authz.AlwaysAllow{}, Logger: slog.New(slog.DiscardHandler)}
		if u, _ := auth.Check(httptest.NewRequest("GET", "/", nil)); (u == nil) != (tt.want == "") {
			t.Errorf("literal, %s: %v", tt.name, u)
		}
		if made.Authenticator = tt.a; tt.a == nil {
			tt.want = authn.UserAnonymous
		}
		if u, err := made.Check(httptest.NewRequest("GET", "/", nil)); u != nil && u.Username != tt.want || (u == nil) != (tt.want == "") {
			t.Errorf("made by New, %s: %v, %v", tt.name, u, err)
		}
	}
	if _, err := new(Auth).Check(httptest.NewRequest("GET", "/", nil)); err == nil {
		t.Error("the zero Auth let a request pass")
	}
}
