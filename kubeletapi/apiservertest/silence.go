package apiservertest

import (
	"net"
	"sync/atomic"
)

// SetSilent loses the network: the connections that are open, and those that come
// until it is called with false, swallow for good what is sent on them, both
// ways. Neither side is told, and a client learns of it by waiting alone.
// [Server.Stop] closes those connections too.
func (s *Server) SetSilent(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if silent != (s.silences.Load()%2 == 1) {
		s.silences.Add(1)
	}
}

// wires is a listener whose connections can be cut and silenced.
type wires struct {
	net.Listener
	silences *atomic.Int64 // beginnings and ends so far
}

func (l wires) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{c.(*net.TCPConn), l.silences, l.silences.Load()}, nil
}

// wire is a connection below TLS.
type wire struct {
	*net.TCPConn
	silences *atomic.Int64
	accepted int64 // at which of them
}

// wireOf returns what is below the TLS of c.
func wireOf(c net.Conn) *wire { return c.(interface{ NetConn() net.Conn }).NetConn().(*wire) }

func (w *wire) silent() bool { return w.accepted%2 == 1 || w.silences.Load() != w.accepted }

func (w *wire) Read(p []byte) (int, error) {
	for {
		n, err := w.TCPConn.Read(p)
		if err != nil || !w.silent() {
			return n, err
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.silent() {
		return len(p), nil
	}
	return w.TCPConn.Write(p)
}
