package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
)

// TestProxyToANode shows what the tests of our own server build on: the API server as a client of something that
// stands where a node's kubelet would be.
func TestProxyToANode(t *testing.T) {
	c := theCluster(t)
	address := harness.RequireNodeAddress(t)
	trusted, err := c.CA.Issue(harness.ServerTemplate(address))
	if err != nil {
		t.Fatal(err)
	}
	port := serveAsNode(t, address, trusted)
	c.CreateNode(t, "proxied", address, port)
	if got := c.AdminKubectl(t, "get", "--raw", "/api/v1/nodes/proxied/proxy/who"); got != harness.KubeletClientUser {
		t.Errorf("the server behind the API server saw %q, want %q", got, harness.KubeletClientUser)
	}
}

// TestProxyVerifiesTheNode shows that the API server does not talk to a node whose certificate it does not trust.
func TestProxyVerifiesTheNode(t *testing.T) {
	c := theCluster(t)
	address := harness.RequireNodeAddress(t)
	stranger, err := harness.NewCA("stranger")
	if err != nil {
		t.Fatal(err)
	}
	untrusted, err := stranger.Issue(harness.ServerTemplate(address))
	if err != nil {
		t.Fatal(err)
	}
	c.CreateNode(t, "untrusted", address, serveAsNode(t, address, untrusted))
	stdout, _, err := c.Kubectl(t, c.AdminKubeconfig, "get", "--raw", "/api/v1/nodes/untrusted/proxy/who")
	if err == nil {
		t.Errorf("the API server passed the request on and kubectl got %q", stdout)
	}
}

// serveAsNode serves the name of the client's certificate on every path, and returns its port.
func serveAsNode(t *testing.T, address string, certificate *harness.Pair) int {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, peer := range r.TLS.PeerCertificates {
			fmt.Fprint(w, peer.Subject.CommonName)
		}
	}))
	server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.Certificate}, ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return listener.Addr().(*net.TCPAddr).Port
}
