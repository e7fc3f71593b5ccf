package apiservertest

import (
	"net"
	"sync/atomic"
)

// Silence makes all connections that are open now swallow what is sent on them,
// both ways, as after the loss of a router's memory: neither side is told, and a
// client learns of it by waiting alone. New connections are good. It does
// nothing while the server is stopped; [Server.Stop] closes those connections too.
func (s *Server) Silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run.open.Range(func(c, _ any) bool {
			wireOf(c.(net.Conn)).silent.Store(true)
			return true
		})
	}
}

// wires is a listener whose connections can be cut and silenced.
type wires struct{ net.Listener }

func (l wires) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{TCPConn: c.(*net.TCPConn)}, nil
}

// wire is a connection below TLS.
type wire struct {
	*net.TCPConn
	silent atomic.Bool
}

// wireOf returns what is below the TLS of c.
func wireOf(c net.Conn) *wire { return c.(interface{ NetConn() net.Conn }).NetConn().(*wire) }

func (w *wire) Read(p []byte) (int, error) {
	for {
		n, err := w.TCPConn.Read(p)
		if err != nil || !w.silent.Load() {
			return n, err
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.silent.Load() {
		return len(p), nil
	}
	return w.TCPConn.Write(p)
}
