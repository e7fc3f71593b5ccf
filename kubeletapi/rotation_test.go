package kubeletapi_test

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
)

// pipes is a network in memory, for a bubble.
type pipes chan net.Conn

func (p pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipeListener is a net.Listener on pipes.
type pipeListener struct {
	pipes
	closed chan struct{}
	close  func()
}

func listenOnPipes() *pipeListener {
	l := &pipeListener{pipes: make(pipes), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.pipes:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error { l.close(); return nil }

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// everyone is good to an API server that is never down.
type everyone struct{}

func (everyone) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "of " + spec.Token}}, nil
}

func (everyone) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	return &authz.SubjectAccessReviewStatus{Allowed: true}, nil
}

// ways are how the contents of a file come to be others. Those that are not done
// in one step leave it unusable for most of a second first.
var ways = []struct {
	name   string
	broken func(t *testing.T, path string, content []byte) // nil: in one step
}{
	{"renamed over", nil},
	{"half written", func(t *testing.T, path string, content []byte) { write(t, path, content[:len(content)*2/3]) }},
	{"swapped by a symlink", nil},
	{"empty", func(t *testing.T, path string, _ []byte) { write(t, path, nil) }},
	{"vanished", func(t *testing.T, path string, _ []byte) { check(t, os.Remove(path)) }},
	{"junk", func(t *testing.T, path string, _ []byte) { write(t, path, []byte("no PEM")) }},
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	check(t, os.WriteFile(path, content, 0o600))
}

// replace puts content into a file in one step, as a mounted Secret does or by a
// rename, which is the only way on Windows.
func replace(t *testing.T, path string, content []byte, secret bool) {
	t.Helper()
	if !secret || runtime.GOOS == "windows" {
		write(t, path+".new", content)
		check(t, os.Rename(path+".new", path))
		return
	}
	version, err := os.MkdirTemp(filepath.Dir(path), "..version-")
	check(t, err)
	write(t, filepath.Join(version, filepath.Base(path)), content)
	data := path + "..data"
	old, _ := os.Readlink(data)
	check(t, os.Symlink(version, data+".new"))
	check(t, os.Rename(data+".new", data))
	if to, _ := os.Readlink(path); to == "" {
		check(t, os.Symlink(filepath.Join(data, filepath.Base(path)), path+".new"))
		check(t, os.Rename(path+".new", path))
	}
	if old != "" {
		check(t, os.RemoveAll(old))
	}
}

// town is a server whose files change, in a bubble, and those who call it.
type town struct {
	*testing.T
	ca      *apiservertest.CA // of the serving certificate, and of the clients that stay
	network *pipeListener
}

func (w *town) serving() tls.Certificate {
	return w.ca.MustIssue(w, apiservertest.Certificate{CommonName: "node", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: serverAuth})
}

// caller returns a function that sends a request, and returns the status and the
// serial number of the serving certificate.
func (w *town) caller(proto string, fresh bool, certificate *tls.Certificate, token func() string) func() (int, string, error) {
	config := &tls.Config{RootCAs: w.ca.Pool(), CurvePreferences: []tls.CurveID{tls.CurveP256}}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{DialContext: w.network.dial, TLSClientConfig: config, ForceAttemptHTTP2: proto == "HTTP/2.0", DisableKeepAlives: fresh}
	w.Cleanup(transport.CloseIdleConnections)
	return func() (int, string, error) {
		request, _ := http.NewRequest("GET", "https://127.0.0.1/metrics", nil)
		if token != nil {
			request.Header.Set("Authorization", "Bearer "+token())
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return 0, "", err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		if response.Proto != proto {
			err = errors.Join(err, errors.New(response.Proto))
		}
		return response.StatusCode, response.TLS.PeerCertificates[0].SerialNumber.String(), err
	}
}

// load has everyone call who may call throughout, until the function it returns
// is called.
func (w *town) load() (stop func()) {
	done, cold := make(chan struct{}), 0
	var group sync.WaitGroup
	var mu sync.Mutex
	stays := w.ca.MustIssue(w, apiservertest.Certificate{CommonName: "stays"})
	credentials := map[string]struct {
		certificate *tls.Certificate
		token       func() string
	}{
		"certificate": {certificate: &stays},
		"hot token":   {token: func() string { return "hot" }},
		"cold token": {token: func() string {
			mu.Lock()
			defer mu.Unlock()
			cold++
			return fmt.Sprint("cold ", cold)[5:]
		}},
	}
	for name, c := range credentials {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			for _, fresh := range []bool{true, false} {
				call := w.caller(proto, fresh, c.certificate, c.token)
				group.Go(func() {
					for {
						if code, _, err := call(); code != 200 || err != nil {
							w.Errorf("%s, %s, each on a new connection: %v: %d, %v", name, proto, fresh, code, err)
						}
						select {
						case <-done:
							return
						case <-time.After(430 * time.Millisecond):
						}
					}
				})
			}
		}
	}
	return func() { close(done); group.Wait() }
}

// The client CA and the serving certificate are replaced a hundred times in all
// ways. Nobody is refused but those whose authority is gone, and they within a
// second, on connections that they have as on new ones.
func TestRotation(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("FIPS 140 cryptography makes no keys where time stands still")
	}
	rounds := 100
	if testing.Short() {
		rounds = 2 * len(ways)
	}
	synctest.Test(t, func(t *testing.T) { rotate(t, rounds) })
}

func rotate(t *testing.T, rounds int) {
	w := &town{t, apiservertest.MustNewCA(t, "stays"), listenOnPipes()}
	dir, pair := t.TempDir(), w.serving()
	cfg := kubeletapi.Config{
		AuthorizationMode: kubeletapi.ModeWebhook, AuthenticationTokenWebhook: true, TokenReviewer: everyone{}, AccessReviewer: everyone{},
		ClientCAFile: filepath.Join(dir, "ca.crt"), TLSCertFile: filepath.Join(dir, "tls.crt"), TLSPrivateKeyFile: filepath.Join(dir, "tls.key"),
		HostnameOverride: "n1", Logger: slog.New(slog.DiscardHandler),
	}
	bundle := func(guests *apiservertest.CA) []byte { return append(w.ca.PEM(), guests.PEM()...) }
	guests := apiservertest.MustNewCA(t, "guests")
	write(t, cfg.ClientCAFile, bundle(guests))
	write(t, cfg.TLSCertFile, apiservertest.CertPEM(pair))
	write(t, cfg.TLSPrivateKeyFile, apiservertest.KeyPEM(pair))
	auth, err := kubeletapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() {
		served <- (&kubeletapi.Server{Config: cfg, Auth: auth, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}).Serve(ctx, w.network)
	}()
	defer func() { cancel(); check(t, <-served) }()
	defer w.load()()
	for i := range rounds {
		guests, pair = w.round(i, cfg, guests, pair, bundle)
		if t.Failed() {
			return
		}
	}
}

// round replaces everything once.
func (w *town) round(i int, cfg kubeletapi.Config, guests *apiservertest.CA, pair tls.Certificate, bundle func(*apiservertest.CA) []byte) (*apiservertest.CA, tls.Certificate) {
	wayOfCA, wayOfPair := ways[i%len(ways)], ways[i/len(ways)%len(ways)]
	next, nextPair := apiservertest.MustNewCA(w, "guests"), w.serving()
	old, young := guests.MustIssue(w, apiservertest.Certificate{CommonName: "old"}), next.MustIssue(w, apiservertest.Certificate{CommonName: "young"})
	type call func() (int, string, error)
	olds := map[string]call{
		"HTTP/1.1":        w.caller("HTTP/1.1", false, &old, nil),
		"HTTP/2.0":        w.caller("HTTP/2.0", false, &old, nil),
		"a new handshake": w.caller("HTTP/1.1", true, &old, nil),
	}
	want := func(code int, serial tls.Certificate, when string) {
		w.Helper()
		for name, call := range olds {
			got, with, err := call()
			if err != nil || got != code {
				w.Errorf("round %d, client CA %s, %s: somebody of the old authority over %s: %d, %v, want %d", i, wayOfCA.name, when, name, got, err, code)
			}
			if name == "a new handshake" && with != serial.Leaf.SerialNumber.String() {
				w.Errorf("round %d, serving pair %s, %s: not the certificate that should be in use", i, wayOfPair.name, when)
			}
		}
	}
	want(200, pair, "before")
	if wayOfCA.broken != nil {
		wayOfCA.broken(w.T, cfg.ClientCAFile, bundle(next))
	}
	if wayOfPair.broken != nil {
		wayOfPair.broken(w.T, cfg.TLSPrivateKeyFile, apiservertest.KeyPEM(nextPair))
	} else { // a pair that does not fit
		replace(w.T, cfg.TLSCertFile, apiservertest.CertPEM(nextPair), wayOfPair.name != "renamed over")
	}
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		want(200, pair, "while it is broken")
	}
	replace(w.T, cfg.ClientCAFile, bundle(next), i%2 == 0)
	replace(w.T, cfg.TLSPrivateKeyFile, apiservertest.KeyPEM(nextPair), i%2 == 0)
	replace(w.T, cfg.TLSCertFile, apiservertest.CertPEM(nextPair), i%2 == 0)
	time.Sleep(time.Second)
	want(401, nextPair, "a second later")
	if code, _, err := w.caller("HTTP/2.0", false, &young, nil)(); code != 200 || err != nil {
		w.Errorf("round %d: somebody of the new authority: %d, %v", i, code, err)
	}
	return next, nextPair
}
