package kubeclient

import (
	"errors"
	"net"
	"net/url"
	"testing"
)

// What is no trouble of the API server is none, and a stream that it ended is.
func TestIsUnavailableRows(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&net.OpError{Op: "dial", Err: errors.New("x")}, true},
		{&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}, false},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false},
		{&url.Error{Op: "Post", Err: errors.New("stream error: stream ID 3; INTERNAL_ERROR; received from peer")}, true},
		{&url.Error{Op: "Post", Err: errors.New("http2: client connection lost")}, true},
		{&url.Error{Op: "Post", Err: errors.New("x")}, false},
	} {
		if got := IsUnavailable(tt.err); got != tt.want {
			t.Errorf("%v: %t", tt.err, got)
		}
	}
}

// A connection that was closed is forgotten, and one that was let go of while it was
// silent is let go of again.
func TestConnectionsAreForgotten(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.kubeconfig("token: " + ourToken))
	s, err := c.session()
	must(t, err)
	p := s.static.pool.Load()
	conn, err := p.dial(t.Context(), "tcp", s.server.Host)
	must(t, err)
	conn.Close()
	if len(p.open) != 0 {
		t.Errorf("%d lines", len(p.open))
	}
	_, done := s.static.use()
	s.retire()
	done(true)
	if s.static.pool.Load().enter() {
		t.Error("the pool after a silent one stays")
	}
}
