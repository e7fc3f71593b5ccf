package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/node"
	"kubeletauth/kubeletapi/upstream"
)

// town is a server, all that it needs, and all that is known of those who call it.
type town struct {
	dir     string
	ca      *apiservertest.CA // of the serving certificate, and of the clients that stay
	guests  *apiservertest.CA // of clients, until the next rotation
	api     *apiservertest.Server
	service *service
	proxy   *upstream.Proxy
	auth    *kubeletapi.Auth
	address string
	cfg     kubeletapi.Config
	stop    func()

	pause sync.RWMutex // held for reading by everyone who does something
	said  last

	apiDown trouble
	upDown  trouble
	number  atomic.Int64 // of credentials, none of which is used twice

	mu         sync.Mutex // guards the rest
	counts     map[string]map[string]int
	slowest    map[string]time.Duration
	events     map[string]int
	violations map[string]int
	revoked    time.Duration // the longest that somebody was served who was not to be any more
}

func newTown(dir string) *town {
	t := &town{dir: dir, counts: map[string]map[string]int{}, slowest: map[string]time.Duration{}, events: map[string]int{}, violations: map[string]int{}}
	var err error
	t.ca, err = apiservertest.NewCA("stays")
	must(err)
	t.guests, err = apiservertest.NewCA("guests")
	must(err)
	t.api, err = apiservertest.Start(apiservertest.Config{})
	must(err)
	t.api.SetToken("hot", authn.UserInfo{Username: "jane"})
	t.api.SetToken("denied", authn.UserInfo{Username: "joe"})
	t.api.AllowUser("jane", "*", "*")
	t.api.AllowGroup("cold", "get", "metrics")
	t.service = startService()
	t.write("token", []byte(t.api.ClientToken()))
	t.write("api-ca.crt", t.api.CA.PEM())
	t.write("kubeconfig", t.kubeconfig(0))
	t.write("ca.crt", t.bundle())
	pair := t.serving()
	t.write("tls.crt", apiservertest.CertPEM(pair))
	t.write("tls.key", apiservertest.KeyPEM(pair))
	t.cfg = kubeletapi.Config{
		AnonymousAuth: true, AuthenticationTokenWebhook: true, AuthorizationMode: kubeletapi.ModeWebhook, HostnameOverride: "n1",
		ClientCAFile: t.path("ca.crt"), Kubeconfig: t.path("kubeconfig"), TLSCertFile: t.path("tls.crt"), TLSPrivateKeyFile: t.path("tls.key"),
		Logger: slog.New(slog.NewTextHandler(&t.said, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	t.auth, err = kubeletapi.New(t.cfg)
	must(err)
	t.proxy, err = upstream.New(upstream.Config{URL: "http://" + t.service.address, Logger: t.cfg.Logger})
	must(err)
	t.serve()
	return t
}

func (t *town) serve() {
	own := node.API{NodeName: "n1", Metrics: t.auth.WriteMetrics}.Handler()
	server := &kubeletapi.Server{Config: t.cfg, Auth: t.auth,
		Handler: upstream.Route([]string{"/up"}, t.proxy, own)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	t.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- server.Serve(ctx, listener) }()
	t.stop = func() { cancel(); must(<-served) }
}

func (t *town) close() {
	t.stop()
	t.proxy.Shutdown(context.Background())
	t.auth.Close()
	t.api.Close()
	t.service.stop()
}

func (t *town) path(name string) string { return filepath.Join(t.dir, name) }

func (t *town) write(name string, content []byte) { must(os.WriteFile(t.path(name), content, 0o600)) }

func (t *town) bundle() []byte { return append(t.ca.PEM(), t.guests.PEM()...) }

func (t *town) serving() tls.Certificate {
	pair, err := t.ca.Issue(apiservertest.Certificate{CommonName: "node", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	must(err)
	return pair
}

// kubeconfig differs from any other version, and says the same.
func (t *town) kubeconfig(version int) []byte {
	return fmt.Appendf(nil, `# version %d
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %s, certificate-authority: api-ca.crt}}]
users: [{name: n%d, user: {tokenFile: token}}]
contexts: [{name: c, context: {cluster: a, user: n%d}}]
current-context: c
`, version, t.api.URL, version, version)
}

// service is the upstream. It echoes, and streams.
type service struct {
	address string
	server  *http.Server
}

func startService() *service {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s := &service{address: listener.Addr().String()}
	s.serve(listener)
	return s
}

func (s *service) serve(listener net.Listener) {
	s.server = &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: time.Minute}
	go s.server.Serve(listener)
}

func (s *service) stop() { s.server.Close() }

func (s *service) restart() {
	listener, err := net.Listen("tcp", s.address)
	must(err)
	s.serve(listener)
}

const chunks = 10

func answer(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		for range chunks {
			io.WriteString(w, "chunk\n")
			http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
		return
	}
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err == nil {
		defer conn.Close()
		io.Copy(conn, buffered)
	}
}

// last is the last line of a log.
type last struct{ atomic.Pointer[string] }

func (l *last) Write(line []byte) (int, error) {
	s := string(line)
	l.Store(&s)
	return len(line), nil
}

func (l *last) String() string {
	if s := l.Load(); s != nil {
		return *s
	}
	return ""
}
