package apiservertest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how a [Server] is made. The zero value suits nearly every test.
type Config struct {
	// Addr is where to listen, with an address that the serving certificate is
	// for; empty means a free port on 127.0.0.1, which on Linux nobody else gets
	// until [Server.Close].
	Addr string
	// CA issues the serving certificate, which is for 127.0.0.1, ::1 and
	// localhost; nil means a new one.
	CA *CA
	// Audiences are the API server's own, for tokens and reviews that name
	// none; empty means [DefaultAudience].
	Audiences []string
}

// Server is the stand-in API server. Make one with [Start] or [New], and call
// [Server.Close] at the end. All methods are safe for concurrent use, while it
// serves and while it is stopped. It is an [http.Handler] too. The zero Server
// cannot be used.
type Server struct {
	URL string // https://host:port, set by the first [Server.Restart]; read-only
	CA  *CA    // issued the serving certificate; read-only

	endpoints map[string]endpoint
	callers   callers
	tokens    tokens
	policy    policy
	faults    faults
	journal   journal
	cert      atomic.Pointer[tls.Certificate]
	silences  atomic.Int64

	mu      sync.Mutex // guards what follows
	addr    string
	release func() // of its port; nil if none is held
	run     *run   // nil: stopped
	closed  bool
}

// Start makes a server that listens. It fails if it cannot listen on
// [Config.Addr].
func Start(c Config) (*Server, error) {
	s, err := New(c)
	if err == nil {
		if err = s.Restart(); err != nil {
			s.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("starting stand-in API server: %w", err)
	}
	return s, nil
}

// New makes a server that does not listen yet: [Server.Restart] does that. It
// fails only if no certificate can be made.
func New(c Config) (*Server, error) {
	if len(c.Audiences) == 0 {
		c.Audiences = []string{DefaultAudience}
	}
	var err error
	if c.CA == nil {
		if c.CA, err = NewCA("apiservertest-ca"); err != nil {
			return nil, err
		}
	}
	cert, err := c.CA.Issue(Certificate{
		CommonName: "kube-apiserver",
		DNSNames:   []string{"localhost"},
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		Usages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotAfter:   time.Now().AddDate(1, 0, 0),
	})
	if err != nil {
		return nil, err
	}
	s := &Server{CA: c.CA, addr: c.Addr, endpoints: endpoints()}
	s.cert.Store(&cert)
	s.callers.generated = "apiservertest-" + rand.Text()
	s.SetClientTokens(s.callers.generated)
	s.tokens.own, s.tokens.known, s.tokens.refusal = c.Audiences, map[string]identity{}, DefaultRefusal
	s.faults.queues = map[string][]Fault{}
	s.journal.counts = map[string]int{}
	return s, nil
}

// SetCertificate replaces the serving certificate for new connections. The
// kubeconfigs go on trusting [Server.CA].
func (s *Server) SetCertificate(c tls.Certificate) { s.cert.Store(&c) }

// Restart listens: the first time on [Config.Addr], later where it listened
// before. It remembers everything it was told and asked. It does nothing while
// the server listens, and fails after [Server.Close] or if the address is taken.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errors.New("the server is closed")
	case s.run != nil:
		return nil
	}
	if s.addr == "" {
		var err error
		if s.addr, s.release, err = holdPort(); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	if s.URL == "" {
		s.addr = listener.Addr().String()
		s.URL = "https://" + s.addr
	}
	s.run = serve(s, listener)
	return nil
}

// Stop closes the listener, cuts all connections, and returns when the last
// request has ended; from then on connections are refused. It does nothing if
// the server does not listen. It must not be called from within a request.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run.stop()
		s.run = nil
	}
}

// Close stops the server for good. No goroutine of its stays. It may be called
// more than once.
func (s *Server) Close() {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.release != nil {
		s.release()
		s.release = nil
	}
}

// run is the time from a Restart to a Stop.
type run struct {
	server *http.Server
	cancel context.CancelFunc
	served sync.WaitGroup // until no more connections are accepted
	conns  sync.WaitGroup

	requests sync.RWMutex // each holds it for reading; over HTTP/2 they may outlive their connection
}

func serve(s *Server, listener net.Listener) *run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{cancel: cancel}
	r.server = &http.Server{
		Handler:           r.track(s),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    1 << 20,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100}, // as kube-apiserver
		TLSConfig: &tls.Config{
			ClientAuth:     tls.RequestClientCert,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil },
		},
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:   r.state,
		ErrorLog:    log.New(io.Discard, "", 0), // handshakes that clients under test break off
	}
	r.served.Go(func() {
		r.server.ServeTLS(wires{listener, &s.silences}, "", "") // always ends with an error: that it was closed
	})
	return r
}

func (r *run) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !r.requests.TryRLock() {
			panic(http.ErrAbortHandler)
		}
		defer r.requests.RUnlock()
		next.ServeHTTP(w, req)
	})
}

func (r *run) state(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		r.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		r.conns.Done()
	}
}

// stop closes twice: a connection may be accepted while the first close looks
// through those that are open.
func (r *run) stop() {
	r.cancel()
	r.server.Close()
	r.served.Wait()
	r.server.Close()
	r.conns.Wait()
	r.requests.Lock() // for good
}
