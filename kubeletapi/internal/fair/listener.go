package fair

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// Listener keeps at most Max connections open. For one more it closes the oldest
// of the host that has the most among those nobody has vouched for, or the new
// one if all are vouched for. It is safe for concurrent use.
type Listener struct {
	net.Listener
	Max     int
	Evicted func() // told of each connection that is closed; may be nil

	mu     sync.Mutex
	open   int
	guests map[string][]*Connection // whom nobody has vouched for, oldest first, by host
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
// left for it, a guest has to go.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, syscall.EMFILE) && l.evict(0) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := &Connection{Conn: conn, from: l, host: Host(conn.RemoteAddr().String())}
		l.add(c)
		l.evict(l.Max)
		return c, nil
	}
}

func (l *Listener) add(c *Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests == nil {
		l.guests = map[string][]*Connection{}
	}
	l.open++
	l.guests[c.host] = append(l.guests[c.host], c)
}

// evict closes a guest, if more than limit connections are open.
func (l *Listener) evict(limit int) bool {
	c := l.oldest(limit)
	if c == nil {
		return false
	}
	c.Close()
	if l.Evicted != nil {
		l.Evicted()
	}
	return true
}

func (l *Listener) oldest(limit int) *Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	var most []*Connection
	for _, guests := range l.guests {
		if len(guests) > len(most) {
			most = guests
		}
	}
	if l.open <= limit || len(most) == 0 {
		return nil
	}
	return most[0]
}

// Vouch says that somebody good is at the other end: from now on the connection
// gives way to no other. It is safe to call on nil.
func (c *Connection) Vouch() {
	if c != nil && !c.vouched.Swap(true) {
		c.from.forget(c, 0)
	}
}

// Close closes the connection.
func (c *Connection) Close() error {
	c.close.Do(func() { c.from.forget(c, 1) })
	return c.Conn.Close()
}

// forget takes c from the guests, and closed from the number of those open.
func (l *Listener) forget(c *Connection, closed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open -= closed
	guests := l.guests[c.host]
	for i, other := range guests {
		if other == c {
			guests = append(guests[:i], guests[i+1:]...)
			break
		}
	}
	if l.guests[c.host] = guests; len(guests) == 0 {
		delete(l.guests, c.host)
	}
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
