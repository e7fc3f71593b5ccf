package kubeletapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// full is a listener whose connections, once they are full, take no more until the
// deadline, as those to a client that does not read.
type full struct {
	net.Listener
	now atomic.Bool
}

type fullConn struct {
	net.Conn
	of *full
}

func (f *full) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	if err == nil {
		conn = &fullConn{conn, f}
	}
	return conn, err
}

func (c *fullConn) Write(p []byte) (int, error) {
	if c.of.now.Load() {
		for { // until the socket's own buffers are full too
			if n, err := c.Conn.Write(make([]byte, 1<<20)); err != nil {
				return n, err
			}
		}
	}
	return c.Conn.Write(p)
}

// Clients who do not read what they asked for do not keep a server from its end: to
// be told of it, each has 5 s of net/http's time, one after the other.
func TestStopWithFullConnections(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for name, tt := range map[string]struct {
		auth   *Auth
		status int
	}{
		"strangers": {&Auth{Logger: quiet}, 401},
		"known":     {&Auth{Logger: quiet, Authenticator: authn.Anonymous{}, Authorizer: authz.AlwaysAllow{}}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			stopFull(t, &Server{Config: Config{HostnameOverride: "n1", Logger: quiet}, Auth: tt.auth, DrainTimeout: 100 * time.Millisecond}, tt.status)
		})
	}
}

func stopFull(t *testing.T, server *Server, status int) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &full{Listener: listener}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, f) }()
	const clients = 10
	for range clients {
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.NetConn().Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: n1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != status {
			t.Fatal(res, err)
		}
	}
	time.Sleep(100 * time.Millisecond) // until they are idle
	f.now.Store(true)
	stop()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(clients * 5 * time.Second / 2):
		t.Error("it still serves")
		<-served
	}
}

// What a handler has taken over is its own affair, also where the drain is cut short.
func TestStopLeavesTunnels(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken, quiet, slow := make(chan net.Conn, 1), slog.New(slog.DiscardHandler), make(chan struct{})
	server := &Server{
		Config: Config{HostnameOverride: "n1", Logger: quiet}, Auth: &Auth{Logger: quiet, Authenticator: authn.Anonymous{}, Authorizer: authz.AlwaysAllow{}}, DrainTimeout: 100 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(slow)
				<-r.Context().Done()
				return
			}
			conn, _, _ := http.NewResponseController(w).Hijack()
			taken <- conn
		}),
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	var client net.Conn
	for _, path := range []string{"/slow", "/tunnel"} {
		if client, err = tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}); err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: n1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	conn := <-taken
	defer conn.Close()
	<-slow
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond) // for whatever closes it
	go io.WriteString(conn, "x")
	if n, err := client.Read(make([]byte, 1)); n != 1 {
		t.Error(err)
	}
}
