package kubeletapi

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/testdata/vectors"
)

// The rows that package authn runs on its chain, here on that of New: over TLS,
// from the certificate and the header to the handler.
func TestChainVectors(t *testing.T) {
	vectors.Run(t, "chain", "kubeletapi", 56, func(t *testing.T, input, expect *vectors.Object) {
		c := newChained(t, input)
		r := chainRequest(t, c.address, input)
		response, err := (&http.Client{Transport: c.transport(input)}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		c.checkResponse(readResponse(t, response), expect)
		c.checkUser(expect)
		if want := vectors.Or(expect, "tokenreviews", c.api.reviews); c.api.reviews != want {
			t.Errorf("%d token reviews, want %d", c.api.reviews, want)
		}
		c.checkAuthorization(r, vectors.Or(expect, "authorization_header_after", ""))
		c.checkLog(expect)
	})
}

// chained is a server with the chain of a row, and what its handler saw.
type chained struct {
	t       *testing.T
	ca      *apiservertest.CA
	api     *fakeAPI
	log     *logged
	address string
	user    *authn.UserInfo // nil: nothing got there
	header  http.Header
}

func newChained(t *testing.T, input *vectors.Object) *chained {
	t.Helper()
	c := &chained{t: t, ca: apiservertest.MustNewCA(t, "client CA"), log: newLogged(), api: &fakeAPI{
		users: map[string]authn.UserInfo{"good": {Username: "token user"}},
		tokens: map[string]vectors.Strings{
			"bad": {"refused"}, "worse": {"refused"}, "x": {"refused"},
			"expired": {"refused: token has expired"}, "outage": {"failure: the review failed"},
		},
	}}
	cfg := Config{
		AnonymousAuth:              vectors.Or(input, "anonymous", false),
		AuthenticationTokenWebhook: vectors.Or(input, "webhook", true),
		AuthorizationMode:          ModeAlwaysAllow,
		ClientCAFile:               filepath.Join(t.TempDir(), "ca.crt"),
		HostnameOverride:           "n1",
		TokenReviewer:              c.api,
		Logger:                     slog.New(c.log),
	}
	if err := os.WriteFile(cfg.ClientCAFile, c.ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	input.Get("clientCAFile", &cfg.ClientCAFile)
	auth, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auth.Close)
	c.address = serveRows(t, &Server{Config: cfg, Auth: auth, Handler: c})
	return c
}

// ServeHTTP is called once at the most, before the answer is read.
func (c *chained) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	c.user, _ = authn.UserFrom(r.Context())
	c.header = r.Header
}

// transport sends the row's certificate whatever the server asks for.
func (c *chained) transport(input *vectors.Object) *http.Transport {
	c.t.Helper()
	pair := &tls.Certificate{}
	if name := vectors.Or(input, "cert", ""); name != "" {
		pair = c.certificate(name)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify:   true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil },
	}}
	c.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func (c *chained) certificate(name string) *tls.Certificate {
	c.t.Helper()
	ca, certificate := c.ca, apiservertest.Certificate{CommonName: "certificate user"}
	switch name {
	case "good":
	case "unknown CA":
		ca = apiservertest.MustNewCA(c.t, "other CA")
	case "expired":
		certificate.NotBefore, certificate.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	case "no name":
		certificate.CommonName = ""
	case "two UIDs":
		certificate.UIDs = []string{"a", "b"}
	default:
		c.t.Fatalf("unknown certificate %q", name)
	}
	pair := ca.MustIssue(c.t, certificate)
	return &pair
}

// chainRequest makes the request of a row, without its certificate.
func chainRequest(t *testing.T, address string, input *vectors.Object) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	vectors.Present(r.Header, input)
	return r
}

func (c *chained) checkResponse(got response, expect *vectors.Object) {
	c.t.Helper()
	want := response{
		Status:  vectors.Or(expect, "status", vectors.Or(expect, "every_request", http.StatusOK)),
		Headers: vectors.Or[map[string]string](expect, "headers", nil),
		Body:    vectors.Or[*string](expect, "body", nil),
	}
	got.check(c.t, want)
	for _, name := range vectors.Or[[]string](expect, "headers_absent", nil) {
		if value, there := got.Headers[http.CanonicalHeaderKey(name)]; there {
			c.t.Errorf("%s: %s", name, value)
		}
	}
	if (want.Status == http.StatusOK) != (c.user != nil) {
		c.t.Errorf("the handler saw the user %v", c.user)
	}
	if startup := vectors.Or(expect, "startup", "ok"); startup != "ok" {
		c.t.Errorf("startup %q", startup)
	}
}

func (c *chained) checkUser(expect *vectors.Object) {
	c.t.Helper()
	if c.user == nil {
		return
	}
	want := *c.user
	want.Username = vectors.Or(expect, "user", vectors.Or(expect, "result", want.Username))
	expect.Get("groups", &want.Groups)
	expect.Get("extra", &want.Extra)
	if diff := cmp.Diff(&want, c.user); diff != "" {
		c.t.Errorf("user (-want +got):\n%s", diff)
	}
}

// checkAuthorization checks what the handler saw of the header.
func (c *chained) checkAuthorization(r *http.Request, what string) {
	c.t.Helper()
	switch got, sent := c.header["Authorization"], r.Header["Authorization"]; {
	case what == "removed" && got != nil, what == "unchanged" && !slices.Equal(got, sent):
		c.t.Errorf("Authorization is %q, sent %q; want it %s", got, sent, what)
	case !slices.Contains([]string{"", "removed", "unchanged"}, what):
		c.t.Errorf("unknown %q", what)
	}
}

func (c *chained) checkLog(expect *vectors.Object) {
	c.t.Helper()
	var message *string
	if !expect.Get("logged_error", &message) {
		return
	}
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var want []string
	if message != nil {
		want = []string{*message}
	}
	if !slices.EqualFunc(c.log.errs, want, vectors.Like) {
		c.t.Errorf("logged %q, want %q", c.log.errs, want)
	}
}
