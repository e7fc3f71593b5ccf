package kubeletapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/tlsconfig"
)

// Server serves a handler behind a filter over HTTPS, as the kubelet serves its
// API. Once it serves, its fields must not change, and it must not be copied. The
// zero Server refuses everyone with 401.
type Server struct {
	// Config says where to listen and with which certificate; what it says of
	// authentication and authorization is in Auth already.
	Config Config

	// Auth is the filter. Client certificates are asked for if New made it
	// from a Config with a ClientCAFile.
	Auth *Auth

	// Handler is served behind Auth. Nil answers 404 to whoever may pass.
	Handler http.Handler

	// How long a client may take, and an answer; zero is the default and
	// negative is no limit.
	ReadHeaderTimeout time.Duration // 10 s for the header of a request
	ReadTimeout       time.Duration // 1 minute for the body of a request
	WriteTimeout      time.Duration // 4 hours for an answer
	IdleTimeout       time.Duration // 90 s for the next request of a connection
	DrainTimeout      time.Duration // 20 s for requests under way when the server stops

	// MaxHeaderBytes bounds a request's header; zero and less is 64 KiB, to which
	// net/http adds 4 KiB over HTTP/1.1. A longer one gets 431, or over HTTP/2 the end
	// of its connection.
	MaxHeaderBytes int

	// MaxConnections bounds the open connections; zero is 10,000 and negative is no
	// limit. To make room for one more, one is closed: the oldest of the host with
	// most of those that have shown no good credential or, if all have, of all.
	MaxConnections int

	// MaxUnauthenticatedRequests bounds the requests under way on connections that
	// have shown no good credential; zero is 4,096 and negative is no limit. To make
	// room for one more, the connection is closed that has most of the host with most.
	MaxUnauthenticatedRequests int

	// Ready, if set, is called with the address once connections are taken.
	Ready func(net.Addr)

	certificate atomic.Pointer[func(*tls.ClientHelloInfo) (*tls.Certificate, error)] // that it serves with
}

// ListenAndServe serves on Config's address and port until ctx ends; see Serve.
func (s *Server) ListenAndServe(ctx context.Context) error {
	address, port := cmp.Or(s.Config.Address, "127.0.0.1"), cmp.Or(s.Config.Port, 10250)
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return listenError(err)
	}
	return s.Serve(ctx, listener)
}

// Serve serves on listener, which it closes, until ctx ends. Then it takes no
// more connections, gives the requests under way DrainTimeout to finish, cuts
// those that have not, and returns nil. It returns an error at once if the
// serving certificate cannot be used.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	defer listener.Close()
	server, err := s.httpServer()
	if err != nil {
		return err
	}
	s.warn()
	if err := s.CheckCertificate(ctx); err != nil {
		s.Config.logger().Warn("Callers who verify the serving certificate will not connect", "err", err)
	}
	failed := make(chan error, 1)
	limited := &fair.Listener{Listener: listener, Max: cmp.Or(s.MaxConnections, 10_000), MaxRequests: cmp.Or(s.MaxUnauthenticatedRequests, 4096)}
	if s.Auth != nil {
		limited.Evicted = s.Auth.metrics.evicted.Inc
	}
	go func() { failed <- server.ServeTLS(limited, "", "") }()
	if s.Ready != nil {
		s.Ready(listener.Addr())
	}
	select {
	case err := <-failed:
		server.Close()
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if d := cmp.Or(s.DrainTimeout, 20*time.Second); d > 0 {
		drain, cancel = context.WithTimeout(drain, d)
	}
	defer cancel()
	defer context.AfterFunc(drain, limited.CloseAll)() // else each that takes nothing keeps Shutdown for 5 s, to be told of the end
	if err := server.Shutdown(drain); err != nil {
		s.Config.logger().Warn("Cut the requests that were still under way", "err", err)
		server.Close()
	}
	<-failed
	return nil
}

func (s *Server) httpServer() (*http.Server, error) {
	config, err := tlsconfig.New(s.Config.TLSMinVersion, s.Config.TLSCipherSuites, s.Config.TLSCurvePreferences)
	if err != nil {
		return nil, err
	}
	auth := cmp.Or(s.Auth, &Auth{})
	name, err := s.Config.nodeName()
	if err != nil {
		return nil, err
	}
	config.GetCertificate, err = s.Config.servingCertificate(name, &auth.metrics)
	if err != nil {
		return nil, err
	}
	s.certificate.Store(&config.GetCertificate)
	auth.metrics.expires("serving", func() (end time.Time) {
		if pair, err := config.GetCertificate(nil); err == nil { // else none could ever be made
			end = tlsconfig.ChainEnd(pair.Certificate)
		}
		return end
	})
	var roots func() *x509.CertPool
	if auth.clientCA != nil {
		roots = func() *x509.CertPool { return auth.clientCA.Get().Roots }
	}
	return &http.Server{
		Handler:                      &fair.Handler{Next: auth.Handler(cmp.Or(s.Handler, http.NotFoundHandler())), ConnectionOf: connectionOf, BodyTimeout: cmp.Or(s.ReadTimeout, time.Minute)},
		ConnContext:                  withSlot,
		ConnState:                    fair.Track,
		TLSConfig:                    tlsconfig.PerConnection(config, roots),
		ReadHeaderTimeout:            cmp.Or(s.ReadHeaderTimeout, 10*time.Second),
		WriteTimeout:                 cmp.Or(s.WriteTimeout, 4*time.Hour),
		IdleTimeout:                  cmp.Or(s.IdleTimeout, 90*time.Second),
		MaxHeaderBytes:               cmp.Or(max(s.MaxHeaderBytes, 0), 64<<10),
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * before the filter
		ErrorLog:                     fair.NewErrorLog(s.Config.logger().Handler(), logRate, logBurst),
	}, nil
}

// warn says what is open that should hardly be.
func (s *Server) warn() {
	if s.Config.AnonymousAuth && s.Config.AuthorizationMode == ModeAlwaysAllow {
		s.Config.logger().Warn("Everyone who can connect is allowed everything: anonymous requests are on and the authorization mode is AlwaysAllow (set --anonymous-auth=false, or --authorization-mode=Webhook)")
	}
}

// listenError adds what to do about an address that cannot be listened on.
func listenError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w (is a kubelet or another copy of this program running? --port gives another port)", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w (--port gives a port that needs no privilege)", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w (--address must be an address of this machine)", err)
	}
	return err
}
