package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"kubeletauth/testdata/e2e/internal/harness"
)

// upstreamServer is our server in front of an upstream, and a token of a service account that has some rights there.
type upstreamServer struct {
	*pageServer
	account harness.ServiceAccount
	token   string
}

// startUpstream starts our server with the flags in front of the upstream. When the test ends, the log must not have
// the token.
func startUpstream(t *testing.T, c *harness.Cluster, url string, rule rbacv1.PolicyRule, flags ...string) *upstreamServer {
	t.Helper()
	flags = append(append(pageGuarded(c), "--upstream="+url), flags...)
	s := &upstreamServer{pageServer: startPageServer(t, c, flags...), account: c.CreateServiceAccount(t, "upstream")}
	c.Grant(t, s.account.Subject(), rule)
	s.token = c.RequestToken(t, s.account, 0)
	t.Cleanup(func() {
		log, err := os.ReadFile(s.LogFile)
		if err != nil || upstreamHasToken(string(log), s.token) {
			t.Errorf("the log of the server has the token, or cannot be read: %v", err)
		}
	})
	return s
}

// upstreamHasToken tells whether a token is in a text, as it is or as WebSocket clients write it.
func upstreamHasToken(text, token string) bool {
	return strings.Contains(text, token) || strings.Contains(text, base64.RawURLEncoding.EncodeToString([]byte(token)))
}

// upstreamProxyRights are all rights that an upstream's own paths can ask for with --request-attributes=kubelet.
func upstreamProxyRights() rbacv1.PolicyRule { return harness.Nodes("*", "proxy") }

// upstreamURLs is the rule that allows a verb on paths, for --request-attributes=nonresource.
func upstreamURLs(verb string, urls ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: urls}
}

// upstreamService serves a handler on loopback, in plain HTTP, and returns its URL.
func upstreamService(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// client speaks HTTP/1.1 or HTTP/2 to our server and asks for no compression by itself.
func (s *upstreamServer) client(t *testing.T, proto string) *http.Client {
	t.Helper()
	client := s.cluster.HTTPClient(t, nil)
	transport := client.Transport.(*http.Transport)
	transport.DisableCompression = true
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(proto == "HTTP/1.1")
	transport.Protocols.SetHTTP2(proto == "HTTP/2.0")
	return client
}

// request is one with the token, and headers in pairs.
func (s *upstreamServer) request(t *testing.T, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}

// raw asks for a target whose bytes are sent as they are.
func (s *upstreamServer) raw(t *testing.T, target string) harness.Answer {
	t.Helper()
	conn, err := tls.Dial("tcp", net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), &tls.Config{RootCAs: s.cluster.CA.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", target, s.token)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	return harness.Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

// upstreamTake returns what an upstream tells next, which is there at once if all is well.
func upstreamTake[T any](t *testing.T, told <-chan T) (next T) {
	t.Helper()
	select {
	case next = <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("the upstream tells nothing")
	}
	return next
}
