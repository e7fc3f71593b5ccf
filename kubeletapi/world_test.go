package kubeletapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/node"
	"kubeletauth/kubeletapi/options"
)

// world is a node's server, the API server behind it, and the authorities.
type world struct {
	t   *testing.T
	api *apiservertest.Server
	ca  *apiservertest.CA // of clients and of the serving certificate
	cfg kubeletapi.Config
	log *buffer
	dir string

	auth *kubeletapi.Auth
	url  string
	stop func() error
}

const (
	goodToken = "good-token-of-jane"
	nodeName  = "n1"
)

// newWorld has one token and a Config that uses everything; start starts it.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, api: apiservertest.MustStart(t, apiservertest.Config{}), ca: apiservertest.MustNewCA(t, "client-ca"), log: new(buffer), dir: t.TempDir()}
	w.api.SetToken(goodToken, authn.UserInfo{Username: "jane", UID: "7", Groups: []string{"dev"}})
	serving := w.ca.MustIssue(t, apiservertest.Certificate{
		CommonName: "node", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: serverAuth,
	})
	w.cfg = kubeletapi.Config{
		ClientCAFile:               w.file("ca.crt", w.ca.PEM()),
		AuthenticationTokenWebhook: true,
		AuthorizationMode:          kubeletapi.ModeWebhook,
		HostnameOverride:           nodeName,
		Kubeconfig:                 w.file("kubeconfig", w.api.Kubeconfig("")),
		TLSCertFile:                w.file("tls.crt", apiservertest.CertPEM(serving)),
		TLSPrivateKeyFile:          w.file("tls.key", apiservertest.KeyPEM(serving)),
		Logger:                     slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return w
}

// file writes a file in the test's own folder, in one step.
func (w *world) file(name string, content []byte) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// start serves the node's own API until the test ends.
func (w *world) start() *world {
	w.t.Helper()
	auth, err := kubeletapi.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.auth = auth
	w.serve(&kubeletapi.Server{
		Config: w.cfg, Auth: auth,
		Handler: node.API{Metrics: auth.WriteMetrics, Configz: options.Options{Config: w.cfg}.Configz()}.Handler(),
	})
	w.t.Cleanup(auth.Close)
	return w
}

// serve runs a server on a port of its own until the test ends.
func (w *world) serve(server *kubeletapi.Server) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	w.url = "https://" + listener.Addr().String()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	w.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.t.Error("serving:", err)
		}
	})
}

// client returns a client with connections of its own. Its certificate, if any,
// is sent whatever authorities the server names.
func (w *world) client(proto string, certificate *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: w.ca.Pool()}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: proto == "HTTP/2.0"}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get asks for path with an Authorization header, unless that is empty.
func (w *world) get(client *http.Client, path, authorization string) (*http.Response, string) {
	w.t.Helper()
	request, err := http.NewRequest("GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response, string(body)
}

// want asks, and compares the status.
func (w *world) want(code int, client *http.Client, path, authorization string) string {
	w.t.Helper()
	response, body := w.get(client, path, authorization)
	if response.StatusCode != code {
		w.t.Errorf("GET %s: %d %q, want %d", path, response.StatusCode, body, code)
	}
	return body
}

// buffer is a log that is written and read concurrently.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
