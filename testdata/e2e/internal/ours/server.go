package ours

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"kubeletauth/testdata/e2e/internal/harness"
)

// Server is a running server of ours.
type Server struct {
	*harness.Process
	URL     string // https://<address>:<port>
	Address string
	Port    int
	Args    []string // that it runs with
}

// Options say where a server listens and what it shows.
type Options struct {
	Address string        // "" is 127.0.0.1
	Port    int           // 0 is a free one
	Serving *harness.Pair // nil is a pair of the cluster's authority for the address
	Program string        // a build of one's own; "" is what [Program] builds
}

// Start runs the server with --address, --port and the serving pair that the options say, and the flags given, for the
// length of the test. It waits until the server takes connections.
func Start(t testing.TB, c *harness.Cluster, options Options, flags ...string) *Server {
	t.Helper()
	s := newServer(t, c, options, flags)
	program := options.Program
	if program == "" {
		program = Program(t, c)
	}
	s.Process = harness.RunFor(t, "server-"+strconv.Itoa(s.Port), exec.Command(program, s.Args...))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Await(ctx, s.serves); err != nil {
		t.Fatal(err)
	}
	return s
}

// newServer works out the address and the command line.
func newServer(t testing.TB, c *harness.Cluster, options Options, flags []string) *Server {
	t.Helper()
	s := &Server{Address: options.Address, Port: options.Port}
	if s.Address == "" {
		s.Address = "127.0.0.1"
	}
	if s.Port == 0 {
		port, err := harness.FreePort(s.Address)
		if err != nil {
			t.Fatal(err)
		}
		s.Port = port
	}
	serving := options.Serving
	if serving == nil {
		var err error
		if serving, err = c.CA.Issue(harness.ServerTemplate(s.Address)); err != nil {
			t.Fatal(err)
		}
	}
	certFile, keyFile, err := serving.Write(t.TempDir(), "serving")
	if err != nil {
		t.Fatal(err)
	}
	s.URL = "https://" + net.JoinHostPort(s.Address, strconv.Itoa(s.Port))
	s.Args = append([]string{
		"--address=" + s.Address,
		"--port=" + strconv.Itoa(s.Port),
		"--tls-cert-file=" + certFile,
		"--tls-private-key-file=" + keyFile,
	}, flags...)
	return s
}

// serves is a check for Await: a TLS handshake goes well. Nothing is asked, so nothing is reviewed or remembered.
func (s *Server) serves(ctx context.Context) error {
	// What the certificate says is the test's business, not that of waiting.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.Address, strconv.Itoa(s.Port)))
	if err != nil {
		return fmt.Errorf("waiting until the server takes connections: %w", err)
	}
	return conn.Close()
}
