package kubeletapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/kubeclient"
)

// moody gives the answers that it is told to give.
type moody struct {
	mu            sync.Mutex
	token, access error // instead of an answer
	refuse, deny  bool
}

// set changes it between two reviews.
func (m *moody) set(change func()) {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *moody) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &authn.TokenReviewStatus{Authenticated: !m.refuse, User: authn.UserInfo{Username: "jane"}}, m.token
}

func (m *moody) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &authz.SubjectAccessReviewStatus{Allowed: !m.deny}, m.access
}

var refusedConnection = &url.Error{Op: "Post", URL: "https://x", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}

func TestUnavailable(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{refusedConnection, true},
		{fmt.Errorf("after 3 tries: %w", refusedConnection), true},
		{context.DeadlineExceeded, true},
		{io.ErrUnexpectedEOF, true},
		{&url.Error{Err: io.EOF}, true},
		{&kubeclient.StatusError{Code: 500}, true},
		{&kubeclient.StatusError{Code: 503}, true},
		{&kubeclient.StatusError{Code: 599}, true},
		{&kubeclient.StatusError{Code: 429}, false},
		{&kubeclient.StatusError{Code: 401}, false}, // of this server's own credential
		{&kubeclient.StatusError{Code: 403}, false},
		{&kubeclient.StatusError{Code: 404}, false},
		{&kubeclient.StatusError{Code: 302}, false},
		{&url.Error{Err: x509.UnknownAuthorityError{}}, false}, // somebody else answers
		{&url.Error{Err: errors.New("unexpected EOF")}, false},
		{&url.Error{Err: errors.New("http2: client connection lost")}, true},
		{fmt.Errorf("%w (hint)", &url.Error{Err: errors.New("stream error: stream ID 3; INTERNAL_ERROR; received from peer")}), true},
		{&url.Error{Err: errors.New("malformed HTTP response \"http2: x\"")}, false},
		{errors.New("http2: client connection lost"), false}, // whoever says so
		{&url.Error{Err: &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}}, false},
		{&url.Error{Err: tls.RecordHeaderError{}}, false},
		{&url.Error{Err: context.Canceled}, false},
		{&url.Error{Err: os.ErrDeadlineExceeded}, true},
		{errors.New("both allowed and denied"), false},
		{context.Canceled, false},
		{&authn.InvalidTokenError{}, false},
	} {
		if got := kubeclient.IsUnavailable(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

// In each row jane asks at the start, and then things happen, until a request at
// the end gets a code. "down" means that reviews fail.
func TestStaleIfError(t *testing.T) {
	expires := func(in time.Duration) string { // a JSON Web Token that nobody checks
		payload := fmt.Sprintf(`{"exp":%d}`, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(in).Unix())
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for _, test := range []struct {
		name, token string
		own         bool // nonresource attributes
		steps       string
		code        int
	}{
		{"within the TTL", "t", false, "down 1m", 200},
		{"token beyond its TTL", "t", false, "down 3m", 200},
		{"both beyond their TTL", "t", false, "down 6m", 200},
		{"both, asked all the time", "t", false, "down busy=11m", 200},
		{"just before the end", "t", false, "down busy=11m45s", 200},
		{"token beyond the end", "t", false, "down busy=12m5s", 401},
		{"access beyond the end", "t", false, "access-down busy=15m5s", 500},
		{"access just before", "t", false, "access-down busy=14m45s", 200},
		{"beyond the end, when nobody asked", "t", false, "down 13m", 401},
		{"own attributes", "t", true, "down 6m", 200},
		{"own attributes, asked all the time", "t", true, "down busy=11m", 200},
		{"own attributes beyond the end", "t", true, "access-down busy=15m5s", 500},
		{"token refused meanwhile", "t", false, "refuse 3m ask down 1m ask", 401},
		{"token refused while stale", "t", false, "down busy=4m up refuse busy=4s down 1m", 401},
		{"access denied while stale", "t", false, "down busy=6m up deny busy=7s down 1m", 403},
		{"back again", "t", false, "down busy=6m up 1m", 200},
		{"no right to ask", "t", false, "forbidden 6m", 401},
		{"no right to ask about access", "t", false, "access-forbidden 6m", 500},
		{"another token", "t", false, "down 3m other", 401},
		{"another path", "t", true, "down 3m path", 500},
		{"a token that ends", expires(4 * time.Minute), false, "down busy=3m50s", 200},
		{"a token that ended", expires(4 * time.Minute), false, "down busy=4m1s", 401},
		{"a token that ended while nobody asked", expires(4 * time.Minute), false, "down 4m1s", 401},
		{"a token that ends before the TTL does", expires(time.Minute), false, "down busy=61s", 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				api := &moody{}
				cfg := Config{AuthorizationMode: ModeWebhook, AuthenticationTokenWebhook: true, HostnameOverride: "n1", TokenReviewer: api, AccessReviewer: api,
					AuthenticationStaleIfError: 10 * time.Minute, AuthorizationStaleIfError: 10 * time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))}
				if test.own {
					cfg.RequestAttributes = AttributesNonResource
				}
				auth, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer auth.Close()
				token, path, connection := test.token, "/metrics", withSlot(t.Context(), nil)
				ask := func() int {
					r := httptest.NewRequest("GET", path, nil).WithContext(connection)
					r.Header.Set("Authorization", "Bearer "+token)
					_, err := auth.Check(r)
					var refused *RefusedError
					if errors.As(err, &refused) {
						return refused.Code
					}
					return 200
				}
				if code := ask(); code != 200 {
					t.Fatal(code)
				}
				for _, step := range strings.Fields(test.steps) {
					switch name, value, _ := strings.Cut(step, "="); name {
					case "down":
						api.set(func() { api.token, api.access = refusedConnection, refusedConnection })
					case "access-down":
						api.set(func() { api.access = refusedConnection })
					case "forbidden":
						api.set(func() { api.token = &kubeclient.StatusError{Code: 403} })
					case "access-forbidden":
						api.set(func() { api.access = &kubeclient.StatusError{Code: 403} })
					case "up":
						api.set(func() { api.token, api.access = nil, nil })
					case "refuse":
						api.set(func() { api.refuse = true })
					case "deny":
						api.set(func() { api.deny = true })
					case "other":
						token = "another"
					case "path":
						path = "/another"
					case "ask":
						ask()
					case "busy":
						d, _ := time.ParseDuration(value)
						for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
							ask()
						}
					default:
						d, err := time.ParseDuration(name)
						if err != nil {
							t.Fatal(err)
						}
						time.Sleep(d)
					}
				}
				code := ask()
				if synctest.Wait(); code != test.code {
					t.Errorf("%d, not %d; %s", code, test.code, &log)
				}
				if strings.Contains(log.String(), "e30") {
					t.Error("the log has a token in it")
				}
			})
		})
	}
}

// A denial takes back what was allowed before, also where denials are not kept.
func TestDenialThatIsNotKept(t *testing.T) {
	for _, test := range []struct {
		name, attributes string
		wait             time.Duration // until the denial
		code             int           // then, while the API server is down
	}{
		{"after the TTL", AttributesKubelet, 6 * time.Minute, 500},
		{"own attributes after the TTL", AttributesNonResource, 6 * time.Minute, 500},
		{"by a renewal", AttributesKubelet, 5*time.Minute - time.Second, 500},
		{"own attributes by a renewal", AttributesNonResource, 5*time.Minute - time.Second, 500},
		{"within the TTL", AttributesKubelet, time.Minute, 200}, // as nobody asked
	} {
		synctest.Test(t, func(t *testing.T) {
			api := &moody{}
			auth, err := New(Config{AnonymousAuth: true, AuthorizationMode: ModeWebhook, RequestAttributes: test.attributes, HostnameOverride: "n1", AccessReviewer: api,
				KubeAPIQPS: 1, KubeAPIBurst: 1, AuthorizationWebhookCacheUnauthorizedTTL: -1, AuthorizationStaleIfError: 10 * time.Minute, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer auth.Close()
			r := httptest.NewRequest("GET", "/metrics", nil)
			if _, err := auth.Check(r); err != nil {
				t.Fatal(err)
			}
			time.Sleep(test.wait)
			api.set(func() { api.deny = true })
			auth.Check(r)
			synctest.Wait()
			start := time.Now()
			for range 5 {
				auth.Check(r)
			}
			if took := time.Since(start); test.code == 500 && took < 3*time.Second {
				t.Errorf("%s: a stranger is denied five times in %v, one a second is allowed for", test.name, took)
			}
			api.set(func() { api.access = refusedConnection })
			code := 200
			var refused *RefusedError
			if _, err := auth.Check(r); errors.As(err, &refused) {
				code = refused.Code
			}
			if code != test.code {
				t.Errorf("%s: %d, not %d", test.name, code, test.code)
			}
		})
	}
}

// Without the flags, nothing is used beyond its TTL.
func TestNothingStaleByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &moody{}
		auth, err := New(Config{AuthorizationMode: ModeWebhook, AuthenticationTokenWebhook: true, HostnameOverride: "n1", TokenReviewer: api, AccessReviewer: api})
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close()
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Authorization", "Bearer t")
		auth.Check(r)
		api.set(func() { api.token = refusedConnection })
		time.Sleep(2*time.Minute + time.Second)
		if _, err := auth.Check(r); err == nil {
			t.Error("passed")
		}
	})
}

// A decision may be repeated for longer than the certificate is good for; the
// certificate may not.
func TestStaleDecisionEndsWithTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := apiservertest.NewCA("client-ca")
		if err != nil {
			t.Fatal(err)
		}
		jane, err := ca.Issue(apiservertest.Certificate{CommonName: "jane", NotBefore: time.Now(), NotAfter: time.Now().Add(8 * time.Minute), Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "ca.crt")
		if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		api := &moody{}
		auth, err := New(Config{AuthorizationMode: ModeWebhook, ClientCAFile: file, HostnameOverride: "n1", AccessReviewer: api, AuthorizationStaleIfError: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close()
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{jane.Leaf}}
		for _, step := range []struct {
			pass  time.Duration
			err   error
			allow bool
		}{
			{0, nil, true},
			{6 * time.Minute, refusedConnection, true},
			{2*time.Minute - time.Second, refusedConnection, true},
			{2 * time.Second, refusedConnection, false},
			{time.Minute, nil, false},
		} {
			api.set(func() { api.access = step.err })
			time.Sleep(step.pass)
			if _, err := auth.Check(r); (err == nil) != step.allow {
				t.Errorf("%v later: %v", step.pass, err)
			}
		}
	})
}
