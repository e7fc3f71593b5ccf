package oracle

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kubeletauth/kubeletapi/apiservertest"
)

// witness is an API server that says what it saw, and the files that a kubeconfig may name.
type witness struct {
	dir, url string
	ca       *apiservertest.CA
	pair     tls.Certificate

	mu   sync.Mutex
	seen *seen
}

// seen is what reached the server.
type seen struct {
	Method, Path, Query, Authorization, Certificate, ServerName string
	Impersonation                                               string
}

// sight is what a client did.
type sight struct {
	Seen *seen // nil: nothing reached the server
	err  error
}

// newWitness starts the server and writes the files.
func newWitness(t *testing.T) *witness {
	t.Helper()
	w := &witness{dir: t.TempDir(), ca: apiservertest.MustNewCA(t, "witness")}
	w.pair = w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "client"})
	serving := w.ca.MustIssue(t, apiservertest.Certificate{
		CommonName: "witness", DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	server := httptest.NewUnstartedServer(w)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	w.url = strings.TrimPrefix(server.URL, "https://127.0.0.1")
	for name, content := range map[string][]byte{
		"ca.crt": w.ca.PEM(), "other.crt": apiservertest.MustNewCA(t, "other").PEM(), "empty": nil, "text": []byte("text"),
		"client.crt": apiservertest.CertPEM(w.pair), "client.key": apiservertest.KeyPEM(w.pair), "token": []byte(" from-a-file\n"),
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// ServeHTTP keeps what it sees and answers with a review.
func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	s := &seen{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Authorization: r.Header.Get("Authorization"), ServerName: r.TLS.ServerName,
		Impersonation: r.Header.Get("Impersonate-User"),
	}
	for _, peer := range r.TLS.PeerCertificates {
		s.Certificate += peer.Subject.CommonName
	}
	w.mu.Lock()
	w.seen = s
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusCreated)
	io.WriteString(rw, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,"user":{"username":"u"}}}`)
}

// see says what reached the server while ask ran.
func (w *witness) see(ask func() error) sight {
	w.mu.Lock()
	w.seen = nil
	w.mu.Unlock()
	err := ask()
	w.mu.Lock()
	defer w.mu.Unlock()
	return sight{w.seen, err}
}
