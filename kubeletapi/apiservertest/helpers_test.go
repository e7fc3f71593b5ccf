package apiservertest_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"

	"kubeletauth/kubeletapi/apiservertest"
)

const (
	tokenPath   = "/apis/authentication.k8s.io/v1/tokenreviews"
	tokenBeta   = "/apis/authentication.k8s.io/v1beta1/tokenreviews"
	accessPath  = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
	accessBeta  = "/apis/authorization.k8s.io/v1beta1/subjectaccessreviews"
	janesToken  = `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","spec":{"token":"jane-token"}}`
	janesAccess = `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{"user":"jane","resourceAttributes":{"verb":"get","version":"v1","resource":"nodes","subresource":"metrics","name":"n1"}}}`
)

// client is a plain HTTP client of one server.
type client struct {
	http  *http.Client
	url   string
	token string
}

func newClient(t *testing.T, s *apiservertest.Server, http2 bool, certs ...tls.Certificate) *client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: s.CA.Pool(), Certificates: certs},
		ForceAttemptHTTP2: http2,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{url: s.URL, token: s.ClientToken(), http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is all that came back; err is from the request or from reading.
type answer struct {
	code   int
	proto  string
	header http.Header
	body   string
	err    error
}

func (c *client) do(r *http.Request) answer {
	if c.token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Proto, response.Header, string(body), err}
}

func (c *client) request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (c *client) post(t *testing.T, path, body string) answer {
	t.Helper()
	return c.do(c.request(t, http.MethodPost, path, body))
}

func (c *client) get(t *testing.T, path string) answer {
	t.Helper()
	return c.do(c.request(t, http.MethodGet, path, ""))
}

// want fails the test unless the answer came whole, with code and with text
// somewhere in its body.
func (a answer) want(t *testing.T, code int, text string) {
	t.Helper()
	if a.err != nil || a.code != code || !strings.Contains(a.body, text) {
		t.Errorf("got %d %q, error %v; want %d with %q", a.code, a.body, a.err, code, text)
	}
}

func start(t *testing.T) (*apiservertest.Server, *client) {
	t.Helper()
	s := apiservertest.MustStart(t, apiservertest.Config{})
	return s, newClient(t, s, true)
}

func verify(chain tls.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	intermediates := x509.NewCertPool()
	for _, der := range chain.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		intermediates.AddCert(c)
	}
	_, err := chain.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}
