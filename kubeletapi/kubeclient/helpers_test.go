package kubeclient

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// secretToken and the like are looked for wherever something is printed.
const (
	ourToken    = "our-own-SECRET-token"
	theirToken  = "their-reviewed-SECRET-token"
	ourPassword = "our-own-SECRET-password"
)

// pair is a certificate and its key in PEM.
type pair struct{ cert, key []byte }

// authority is a CA made for one test.
type authority struct {
	pair
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{pair{toPEM("CERTIFICATE", der), nil}, leaf, key}
}

// issue signs a certificate for a server on 127.0.0.1 and for a client.
func (a *authority) issue(t testing.TB, name string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"api.example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.leaf, &key.PublicKey, a.key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	return pair{toPEM("CERTIFICATE", der), toPEM("EC PRIVATE KEY", keyDER)}
}

func toPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is an API server of this test, a folder for a client's files, and all
// that the client said about itself.
type world struct {
	*httptest.Server
	t      testing.TB
	ca     *authority
	folder string
	log    *logBuffer

	serving atomic.Pointer[tls.Config]

	mu       sync.Mutex
	requests []seen
	answer   func(n int, s seen, w http.ResponseWriter) // n counts from 1
	observed []string
	reports  []error
}

// seen is a request that arrived.
type seen struct {
	method, path, version, body, authorization, certificate, from string
	header                                                        http.Header
	major                                                         int
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// newWorld starts an API server that says yes to everything.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := newWorldWithoutServer(t)
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.Server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.EnableHTTP2 = true
	w.serveAs(w.ca)
	w.StartTLS()
	t.Cleanup(w.Server.Close)
	return w
}

func newWorldWithoutServer(t testing.TB) *world {
	return &world{t: t, ca: newAuthority(t, "test CA"), folder: t.TempDir(), log: &logBuffer{}, answer: yes}
}

// serveAs makes the server present a certificate of ca from the next handshake on.
func (w *world) serveAs(ca *authority) {
	p := ca.issue(w.t, "api server")
	certificate, err := tls.X509KeyPair(p.cert, p.key)
	must(w.t, err)
	w.serving.Store(&tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
	if w.TLS == nil {
		w.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return w.serving.Load(), nil }}
	}
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s := seen{from: r.RemoteAddr, method: r.Method, path: r.URL.RequestURI(), body: string(body), authorization: r.Header.Get("Authorization"), header: r.Header, major: r.ProtoMajor}
	if parts := strings.Split(r.URL.Path, "/"); len(parts) > 2 {
		s.version = parts[len(parts)-2]
	}
	if len(r.TLS.PeerCertificates) > 0 {
		s.certificate = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	w.mu.Lock()
	w.requests = append(w.requests, s)
	n, answer := len(w.requests), w.answer
	w.mu.Unlock()
	answer(n, s, rw)
}

func (w *world) setAnswer(f func(n int, s seen, rw http.ResponseWriter)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer, w.requests = f, nil
}

func (w *world) arrived() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]seen(nil), w.requests...)
}

// yes authenticates and allows, in the version of the question.
func yes(_ int, s seen, w http.ResponseWriter) {
	send(w, 201, reviewOf(s, `{"authenticated":true,"user":{"username":"jane"},"allowed":true}`))
}

// reviewOf is the answer to a question with this status.
func reviewOf(s seen, status string) string {
	var question struct{ Kind, APIVersion string }
	json.Unmarshal([]byte(s.body), &question)
	return fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":{},"status":%s}`, question.Kind, question.APIVersion, status)
}

func send(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	io.WriteString(w, body)
}

// with returns an answer that is always the same.
func with(code int, body string) func(int, seen, http.ResponseWriter) {
	return func(_ int, _ seen, w http.ResponseWriter) { send(w, code, body) }
}

// write makes a file in the world's folder, and replaces one by renaming.
func (w *world) write(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.folder, name)
	must(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(w.t, os.WriteFile(path+".new", []byte(content), 0o600))
	must(w.t, os.Rename(path+".new", path))
	return path
}

// kubeconfig writes one for the server with these fields of the user, in YAML's
// flow style.
func (w *world) kubeconfig(user string, cluster ...string) string {
	w.t.Helper()
	address := "https://127.0.0.1:1"
	if w.Server != nil {
		address = w.URL
	}
	return w.write("kubeconfig", kubeconfigText(address, user, append(cluster, `"certificate-authority-data": "`+b64(w.ca.cert)+`"`)...))
}

func kubeconfigText(server, user string, cluster ...string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters:
- name: k
  cluster: {"server": %q, %s}
users:
- name: u
  user: {%s}
`, server, strings.Join(cluster, ", "), user)
}

func (w *world) config(kubeconfig string) Config {
	return Config{
		Kubeconfig: kubeconfig,
		Logger:     slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(resource, code string, d time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.observed = append(w.observed, resource+" "+code)
		},
		Report: func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reports = append(w.reports, err)
		},
	}
}

func (w *world) client(kubeconfig string) *Client {
	w.t.Helper()
	c, err := New(w.config(kubeconfig))
	must(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

// tokenClient is a client with an inline token.
func (w *world) tokenClient() *Client {
	w.t.Helper()
	return w.client(w.kubeconfig("token: " + ourToken))
}

func reviewToken(c *Client) (*authn.TokenReviewStatus, error) {
	return c.ReviewToken(context.Background(), authn.TokenReviewSpec{Token: theirToken})
}

func reviewAccess(c *Client) (*authz.SubjectAccessReviewStatus, error) {
	return c.ReviewAccess(context.Background(), authz.SubjectAccessReviewSpec{User: "jane", NonResourceAttributes: &authz.NonResourceAttributes{Path: "/x", Verb: "get"}})
}

// mustReview asks for both reviews and expects a yes.
func mustReview(t testing.TB, c *Client) {
	t.Helper()
	if status, err := reviewToken(c); err != nil || !status.Authenticated {
		t.Fatalf("ReviewToken = %+v, %v, want authenticated", status, err)
	}
	if status, err := reviewAccess(c); err != nil || !status.Allowed {
		t.Fatalf("ReviewAccess = %+v, %v, want allowed", status, err)
	}
}

// mustHide checks that a text names no secret and is one line of bounded length.
func mustHide(t testing.TB, text string) {
	t.Helper()
	if strings.Contains(text, "SECRET") || strings.Contains(text, b64([]byte(ourPassword))) {
		t.Errorf("this text holds a secret: %s", text)
	}
}

// mustFail checks an error: it holds want, no secret, and is one line.
func mustFail(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not hold %q", err, want)
	}
	mustHide(t, err.Error())
	if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || len(err.Error()) > 4<<10 {
		t.Errorf("error is not one bounded line: %q", err)
	}
}
