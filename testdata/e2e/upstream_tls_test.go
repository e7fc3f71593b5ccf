package e2e

import (
	"crypto/tls"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
)

// TestUpstreamTLS shows an upstream that is spoken to in TLS and takes nobody without a certificate. Only the authority
// of the flag vouches for it, and only the certificate of the flags opens it.
func TestUpstreamTLS(t *testing.T) {
	c := theCluster(t)
	dir := t.TempDir()
	issue := func(ca *harness.CA, name string, server bool) (pair *harness.Pair, certFile, keyFile string) {
		template := harness.ClientTemplate(name)
		if server {
			template = harness.ServerTemplate("127.0.0.1")
		}
		pair, err := ca.Issue(template)
		if err != nil {
			t.Fatal(err)
		}
		if certFile, keyFile, err = pair.Write(dir, name); err != nil {
			t.Fatal(err)
		}
		return pair, certFile, keyFile
	}
	authority := func(name string) (ca *harness.CA, file string) {
		ca, err := harness.NewCA(name)
		if err != nil {
			t.Fatal(err)
		}
		promWrite(t, filepath.Join(dir, name+".crt"), ca.CertPEM)
		return ca, filepath.Join(dir, name+".crt")
	}
	ours, ourCA := authority("ours")
	others, otherCA := authority("others")
	serving, _, _ := issue(ours, "serving", true)
	_, cert, key := issue(ours, "proxy", false)
	_, otherCert, otherKey := issue(others, "stranger", false)
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(upstreamMirror{})
		server.EnableHTTP2 = http2
		server.TLS = &tls.Config{Certificates: []tls.Certificate{serving.Certificate}, ClientCAs: ours.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		server.StartTLS()
		defer server.Close()
		for name, tt := range map[string]struct {
			flags []string
			want  int
		}{
			"as it should be":          {[]string{"--upstream-ca-file=" + ourCA, "--upstream-cert-file=" + cert, "--upstream-key-file=" + key}, 200},
			"no certificate":           {[]string{"--upstream-ca-file=" + ourCA}, 502},
			"a stranger's":             {[]string{"--upstream-ca-file=" + ourCA, "--upstream-cert-file=" + otherCert, "--upstream-key-file=" + otherKey}, 502},
			"another authority":        {[]string{"--upstream-ca-file=" + otherCA, "--upstream-cert-file=" + cert, "--upstream-key-file=" + key}, 502},
			"the system's authorities": {[]string{"--upstream-cert-file=" + cert, "--upstream-key-file=" + key}, 502},
		} {
			t.Run(name, func(t *testing.T) {
				s := startUpstream(t, c, server.URL, upstreamProxyRights(), tt.flags...)
				for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
					if answer := harness.Send(t, s.client(t, proto), s.request(t, "GET", "/x", nil)); answer.Status != tt.want {
						t.Errorf("%s, HTTP/2 upstream %v: %d %s, want %d", proto, http2, answer.Status, answer.Body, tt.want)
					}
				}
			})
		}
	}
}
