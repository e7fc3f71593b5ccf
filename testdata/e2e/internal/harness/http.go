package harness

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// Answer is what a server said.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// HTTPClient returns a client that trusts the cluster's authority and offers a certificate unless it is nil.
// It follows no redirect and uses no proxy.
func (c *Cluster) HTTPClient(t testing.TB, certificate *Pair) *http.Client {
	client := newHTTPClient(c.CA, certificate)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// Get sends a GET request, with a bearer token unless it is empty.
func Get(t testing.TB, client *http.Client, url, token string) Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return Send(t, client, r)
}

// Send sends a request and reads the whole answer.
func Send(t testing.TB, client *http.Client, r *http.Request) Answer {
	t.Helper()
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

// newHTTPClient is HTTPClient without a test. The certificate goes through GetClientCertificate, so that it is sent
// also when the server's hint of acceptable authorities does not name its issuer.
func newHTTPClient(ca *CA, certificate *Pair) *http.Client {
	config := &tls.Config{RootCAs: ca.Pool()}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &certificate.Certificate, nil
		}
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}
}

// answers200 is a check for poll: a GET of the URL is answered with 200.
func answers200(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(response.Body)
			return fmt.Errorf("GET %s: %s: %s", url, response.Status, body)
		}
		return nil
	}
}
