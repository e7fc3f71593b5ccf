package fair

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// Listener keeps at most Max connections open. For one more it closes the oldest
// of the host that has the most among those nobody has vouched for; if all others
// are vouched for, among all. It is safe for concurrent use.
type Listener struct {
	net.Listener
	Max     int
	Evicted func() // told of each connection that is closed; may be nil

	mu      sync.Mutex
	open    int
	guests  crowd // whom nobody has vouched for
	vouched crowd
}

// Connection is one that a Listener took.
type Connection struct {
	net.Conn
	from    *Listener
	host    string
	vouched atomic.Bool
	close   sync.Once
}

// Accept takes the next connection. When the process has no file descriptor
// left for it, another has to go.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, syscall.EMFILE) && l.evict(0, nil) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := &Connection{Conn: &lazyConn{Conn: conn}, from: l, host: Host(conn.RemoteAddr().String())}
		l.add(c)
		l.evict(l.Max, c)
		return c, nil
	}
}

func (l *Listener) add(c *Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests == nil {
		l.guests, l.vouched = crowd{}, crowd{}
	}
	l.open++
	l.guests.add(c)
}

// evict closes one, but not newest, if more than limit connections are open.
func (l *Listener) evict(limit int, newest *Connection) bool {
	c := l.first(limit, newest)
	if c == nil {
		return false
	}
	c.Close()
	if l.Evicted != nil {
		l.Evicted()
	}
	return true
}

func (l *Listener) first(limit int, newest *Connection) *Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open <= limit {
		return nil
	}
	if c := l.guests.first(newest); c != nil {
		return c
	}
	return l.vouched.first(newest)
}

// Vouch says that somebody good is at the other end: from now on the connection
// gives way to no stranger's. It is safe to call on nil.
func (c *Connection) Vouch() {
	if c == nil || c.vouched.Load() {
		return
	}
	l := c.from
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests.remove(c) { // neither vouched for nor closed yet
		l.vouched.add(c)
		c.vouched.Store(true)
	}
}

// Close closes the connection.
func (c *Connection) Close() error {
	c.close.Do(func() {
		l := c.from
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		_ = l.guests.remove(c) || l.vouched.remove(c)
	})
	return c.Conn.Close()
}

// crowd are connections by host, the oldest first.
type crowd map[string][]*Connection

func (c crowd) add(one *Connection) { c[one.host] = append(c[one.host], one) }

func (c crowd) remove(one *Connection) bool {
	i := slices.Index(c[one.host], one)
	if i < 0 {
		return false
	}
	if c[one.host] = slices.Delete(c[one.host], i, i+1); len(c[one.host]) == 0 {
		delete(c, one.host)
	}
	return true
}

// first returns the oldest of the host that has the most, but not newest, which
// is the last one that came.
func (c crowd) first(newest *Connection) *Connection {
	var most []*Connection
	for _, of := range c {
		if len(of) > len(most) && of[0] != newest {
			most = of
		}
	}
	if len(most) == 0 {
		return nil
	}
	return most[0]
}

// Host is the part of an address that one machine can hardly change: of IPv6
// the first half. Of what is no IP address it is empty.
func Host(address string) string {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	ip, bits := parsed.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
