package kubeclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const dialTimeout = 10 * time.Second

// pool is a transport that can be left without anything of it staying. The
// transport alone would keep a connection of HTTP/2 on which a request was just
// given up, and one that comes about after the request it was meant for.
type pool struct {
	*http.Transport

	mu     sync.Mutex // guards the rest
	open   map[*line]bool
	users  int
	left   bool // closes when it has no users
	closed bool
}

// line is a network connection of a pool.
type line struct {
	net.Conn
	of *pool
}

func (l *line) Close() error {
	l.of.mu.Lock()
	delete(l.of.open, l)
	l.of.mu.Unlock()
	return l.Conn.Close()
}

func (p *pool) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return nil, errors.New("nobody waits for this connection any more")
	}
	l := &line{conn, p}
	p.open[l] = true
	return l, nil
}

// enter reports whether the pool can be used, until exit.
func (p *pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.users++
	}
	return !p.closed
}

func (p *pool) exit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	p.clearLocked()
}

// leave closes what is idle now, and everything once it has no users.
func (p *pool) leave() {
	p.CloseIdleConnections()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	p.clearLocked()
}

func (p *pool) clearLocked() {
	if !p.left || p.users > 0 {
		return
	}
	p.closed = true
	for l := range p.open {
		l.Conn.Close()
	}
	clear(p.open)
}
