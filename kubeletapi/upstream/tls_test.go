package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/upstream"
)

// write writes a file in one step.
func write(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// caFile is the authority of a server of httptest.
func caFile(t testing.TB, server *httptest.Server) string {
	return write(t, filepath.Join(t.TempDir(), "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	ca := apiservertest.MustNewCA(t, "ca")
	pair := ca.MustIssue(t, apiservertest.Certificate{CommonName: "proxy"})
	other := ca.MustIssue(t, apiservertest.Certificate{CommonName: "other"})
	good := write(t, filepath.Join(dir, "ca.crt"), ca.PEM())
	cert := write(t, filepath.Join(dir, "tls.crt"), apiservertest.CertPEM(pair))
	key := write(t, filepath.Join(dir, "tls.key"), apiservertest.KeyPEM(pair))
	otherKey := write(t, filepath.Join(dir, "other.key"), apiservertest.KeyPEM(other))
	bad := write(t, filepath.Join(dir, "bad.crt"), []byte("no certificate"))
	missing := filepath.Join(dir, "missing")
	for _, tt := range []struct {
		cfg  upstream.Config
		want string // words of the error; none if there is none
	}{
		{upstream.Config{URL: "http://127.0.0.1:9100"}, ""},
		{upstream.Config{URL: "http://[::1]:9100"}, ""},
		{upstream.Config{URL: "http://exporter"}, ""},
		{upstream.Config{URL: "http://127.0.0.1:9100/"}, ""},
		{upstream.Config{URL: "https://exporter.example:9100"}, ""},
		{upstream.Config{URL: "HTTPS://exporter.example"}, ""},
		{upstream.Config{URL: "unix:///run/x.sock"}, ""},
		{upstream.Config{URL: "unix:/run/x.sock"}, "--upstream:"},
		{upstream.Config{URL: "unix:///run/a%20b.sock"}, ""},
		{upstream.Config{}, "--upstream:"},
		{upstream.Config{URL: "127.0.0.1:9100"}, "--upstream:"},
		{upstream.Config{URL: "localhost:9100"}, "--upstream:"},
		{upstream.Config{URL: "//localhost:9100"}, "--upstream:"},
		{upstream.Config{URL: "ftp://localhost"}, "--upstream:"},
		{upstream.Config{URL: "http://"}, "--upstream:"},
		{upstream.Config{URL: "http://:9100"}, "--upstream:"},
		{upstream.Config{URL: "http:localhost"}, "--upstream:"},
		{upstream.Config{URL: "http://localhost:99999"}, "--upstream:"},
		{upstream.Config{URL: "http://localhost:http"}, "--upstream:"},
		{upstream.Config{URL: "http://localhost/metrics"}, "--upstream:"},
		{upstream.Config{URL: "http://localhost?x"}, "--upstream:"},
		{upstream.Config{URL: "http://localhost?"}, "--upstream:"},
		{upstream.Config{URL: "http://localhost#x"}, "--upstream:"},
		{upstream.Config{URL: "http://user:" + secret + "@localhost"}, "--upstream:"},
		{upstream.Config{URL: "http://user:" + secret + "@local host"}, "--upstream:"},
		{upstream.Config{URL: "unix://run/x.sock"}, "--upstream:"},
		{upstream.Config{URL: "unix:x.sock"}, "--upstream:"},
		{upstream.Config{URL: "unix:///run/x.sock?x"}, "--upstream:"},
		{upstream.Config{URL: "http://127.0.0.1:1", Protocol: "h2c"}, ""},
		{upstream.Config{URL: "http://127.8.9.1:1", Protocol: "h2c"}, ""},
		{upstream.Config{URL: "http://[::1]:1", Protocol: "h2c"}, ""},
		{upstream.Config{URL: "http://localhost:1", Protocol: "h2c"}, ""},
		{upstream.Config{URL: "unix:///run/x.sock", Protocol: "h2c"}, ""},
		{upstream.Config{URL: "http://10.0.0.1:1", Protocol: "h2c"}, "--upstream-protocol:"},
		{upstream.Config{URL: "http://localhost.example:1", Protocol: "h2c"}, "--upstream-protocol:"},
		{upstream.Config{URL: "https://127.0.0.1:1", Protocol: "h2c"}, "--upstream-protocol:"},
		{upstream.Config{URL: "http://127.0.0.1:1", Protocol: "spdy"}, "--upstream-protocol:"},
		{upstream.Config{URL: "http://127.0.0.1:1", CAFile: good}, "--upstream-ca-file https://"},
		{upstream.Config{URL: "unix:///run/x.sock", CertFile: cert, KeyFile: key}, "--upstream-cert-file https://"},
		{upstream.Config{URL: "https://localhost", CAFile: good, CertFile: cert, KeyFile: key}, ""},
		{upstream.Config{URL: "https://localhost", CAFile: missing}, "--upstream-ca-file missing"},
		{upstream.Config{URL: "https://localhost", CAFile: bad}, "--upstream-ca-file bad.crt"},
		{upstream.Config{URL: "https://localhost", CAFile: dir}, "--upstream-ca-file regular"},
		{upstream.Config{URL: "https://localhost", CertFile: cert}, "--upstream-cert-file --upstream-key-file"},
		{upstream.Config{URL: "https://localhost", KeyFile: key}, "--upstream-cert-file --upstream-key-file"},
		{upstream.Config{URL: "https://localhost", CertFile: missing, KeyFile: key}, "--upstream-cert-file missing"},
		{upstream.Config{URL: "https://localhost", CertFile: cert, KeyFile: missing}, "--upstream-key-file missing"},
		{upstream.Config{URL: "https://localhost", CertFile: bad, KeyFile: key}, "--upstream-cert-file bad.crt"},
		{upstream.Config{URL: "https://localhost", CertFile: cert, KeyFile: otherKey}, "--upstream-key-file other.key"},
	} {
		p, err := upstream.New(tt.cfg)
		switch {
		case (err == nil) != (tt.want == "") || (p == nil) == (err == nil):
			t.Errorf("%+v: %v", tt.cfg, err)
		case err != nil:
			for _, word := range strings.Fields(tt.want) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%+v: %q does not say %s", tt.cfg, err, word)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error has the password: %v", err)
			}
		}
		if p != nil {
			p.Shutdown(ended())
		}
	}
}

// The upstream must be who its URL says, by an authority that is trusted now;
// and it may want to know who asks. Files that change are taken over.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	trusted, stranger := apiservertest.MustNewCA(t, "trusted"), apiservertest.MustNewCA(t, "stranger")
	clients, newClients := apiservertest.MustNewCA(t, "clients"), apiservertest.MustNewCA(t, "new clients")
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	loopback := apiservertest.Certificate{CommonName: "exporter", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: usages}
	serving, clientPool := trusted.MustIssue(t, loopback), clients.Pool()
	service := new(recorder)
	server := httptest.NewUnstartedServer(service)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{serving}, ClientCAs: clientPool, ClientAuth: tls.RequireAndVerifyClientCert, SessionTicketsDisabled: true}, nil
	}}
	server.StartTLS()
	defer server.Close()
	pair := func(ca *apiservertest.CA, name string) (cert, key []byte) {
		p := ca.MustIssue(t, apiservertest.Certificate{CommonName: name})
		return apiservertest.CertPEM(p), apiservertest.KeyPEM(p)
	}
	caFile, certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, caFile, trusted.PEM())
	cert, key := pair(clients, "one")
	write(t, certFile, cert)
	write(t, keyFile, key)
	reports := make(chan error, 10)
	w := newWorld(t, upstream.Config{URL: server.URL, CAFile: caFile, CertFile: certFile, KeyFile: keyFile, Report: func(err error) { reports <- err }}, nil)
	ask := func(want int) string {
		t.Helper()
		server.CloseClientConnections()
		res, _ := w.get(w.client(""), "/x")
		if res.StatusCode != want {
			t.Fatalf("%d, want %d: %s", res.StatusCode, want, w.log)
		}
		if requests, _ := service.take(); len(requests) == 1 {
			return requests[0].TLS.PeerCertificates[0].Subject.CommonName
		}
		return ""
	}
	report := func() error {
		t.Helper()
		for {
			w.get(w.client(""), "/x") // each of which may look at the files
			select {
			case err := <-reports:
				service.take()
				return err
			default:
			}
		}
	}
	if name := ask(200); name != "one" {
		t.Error("the upstream knows", name)
	}

	serving = stranger.MustIssue(t, loopback)
	ask(502)
	serving = trusted.MustIssue(t, apiservertest.Certificate{CommonName: "127.0.0.1", DNSNames: []string{"exporter.example"}, Usages: usages})
	ask(502)
	serving = trusted.MustIssue(t, loopback)

	write(t, keyFile, []byte("half of a key")) // what is bad leaves the last good in force
	if err := report(); err == nil || !strings.Contains(err.Error(), "--upstream-key-file") {
		t.Error(err)
	}
	if name := ask(200); name != "one" {
		t.Error("the upstream knows", name)
	}
	clientPool = newClients.Pool()
	ask(502)
	cert, key = pair(newClients, "two")
	write(t, certFile, cert)
	write(t, keyFile, key)
	for report() != nil { // half of the change was seen
	}
	if name := ask(200); name != "two" {
		t.Error("the upstream knows", name)
	}

	write(t, caFile, stranger.PEM())
	if err := report(); err != nil {
		t.Error(err)
	}
	ask(502)
	serving = stranger.MustIssue(t, loopback)
	ask(200)
	if strings.Contains(w.log.String(), "PRIVATE KEY") {
		t.Error("the log has a key")
	}
}

// Without a CA file the system's authorities count, and they do not vouch for this.
func TestSystemAuthorities(t *testing.T) {
	server := serve(t, http.NotFoundHandler())
	w := newWorld(t, upstream.Config{URL: server.URL}, nil)
	if res, body := w.get(w.client(""), "/x"); res.StatusCode != 502 || body != "Bad Gateway\n" || !strings.Contains(w.log.String(), "certificate") {
		t.Error(res.Status, body, w.log)
	}
}
