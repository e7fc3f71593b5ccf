package fair

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// Listener keeps at most Max connections open, and on those that nobody has
// vouched for at most MaxRequests under way; zero and less is no limit. For one
// more connection it closes the oldest of the host that has the most among those
// nobody has vouched for; if all others are vouched for, among all. For one more
// request it closes the connection that has the most under way, of the host that
// has. It is safe for concurrent use.
type Listener struct {
	net.Listener
	Max, MaxRequests int
	Evicted          func() // told of each connection that is closed; may be nil

	mu       sync.Mutex
	open     int
	requests int   // of guests
	guests   crowd // whom nobody has vouched for
	vouched  crowd
}

// Connection is one that a Listener took.
type Connection struct {
	net.Conn
	from    *Listener
	host    string
	vouched atomic.Bool
	taken   atomic.Bool // by a handler, for a protocol of its own

	// The Listener locks what follows.
	among    crowd // nil once it is closed
	place    *list.Element
	requests int // under way; of guests
}

// Accept takes the next connection. When the process has no file descriptor
// left for it, another has to go.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, syscall.EMFILE) && l.evict(l.oldest(0, nil)) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := &Connection{Conn: newLazyConn(conn), from: l, host: Host(conn.RemoteAddr().String())}
		l.add(c)
		if l.Max > 0 {
			l.evict(l.oldest(l.Max, c))
		}
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

// evict closes c, unless there is none.
func (l *Listener) evict(c *Connection) bool {
	if c == nil {
		return false
	}
	c.Close()
	if l.Evicted != nil {
		l.Evicted()
	}
	return true
}

// oldest returns who has to go, but not newest, if more than limit connections
// are open.
func (l *Listener) oldest(limit int, newest *Connection) *Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open <= limit {
		return nil
	}
	if c := l.guests.oldest(newest); c != nil {
		return c
	}
	return l.vouched.oldest(newest)
}

// Of returns the Connection below one of TLS, or nil if there is none.
func Of(conn net.Conn) *Connection {
	c, _ := conn.(*tls.Conn)
	if c == nil {
		return nil
	}
	below, _ := c.NetConn().(*Connection)
	return below
}

// Track is the ConnState of an [http.Server], which is no longer there for a
// connection that a handler has taken over.
func Track(conn net.Conn, state http.ConnState) {
	if c := Of(conn); c != nil && state == http.StateHijacked {
		c.taken.Store(true)
	}
}

// CloseAll closes the connections that a server looks after, whatever is under way on
// them, without a word to the other end.
func (l *Listener) CloseAll() {
	var all []*Connection
	l.mu.Lock()
	for _, c := range []crowd{l.guests, l.vouched} {
		for _, of := range c {
			for e := of.Front(); e != nil; e = e.Next() {
				if one := e.Value.(*Connection); !one.taken.Load() {
					all = append(all, one)
				}
			}
		}
	}
	l.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// Vouch says that somebody good is at the other end: from now on the connection
// gives way to no stranger's, and its requests are not counted. It is safe to call
// on nil.
func (c *Connection) Vouch() {
	if c == nil || c.vouched.Load() {
		return
	}
	l := c.from
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leave(c) { // unless it was closed meanwhile
		l.vouched.add(c)
		c.vouched.Store(true)
	}
}

// Begin says that a request is under way, and a connection may have to go for it.
// It reports whether End has to be called. It is safe to call on nil.
func (c *Connection) Begin() bool {
	if c == nil || c.vouched.Load() {
		return false
	}
	c.from.evict(c.from.begin(c))
	return true
}

func (l *Listener) begin(c *Connection) *Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.among == nil || c.vouched.Load() {
		return nil
	}
	l.count(c, 1)
	if l.MaxRequests <= 0 || l.requests <= l.MaxRequests {
		return nil
	}
	return l.guests.busiest()
}

// End says that a request which began has ended.
func (c *Connection) End() {
	l := c.from
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.requests > 0 { // neither vouched for nor closed meanwhile
		l.count(c, -1)
	}
}

func (l *Listener) count(c *Connection, n int) {
	c.requests += n
	c.among[c.host].requests += n
	l.requests += n
}

// Close closes the connection.
func (c *Connection) Close() error {
	l := c.from
	l.mu.Lock()
	if l.leave(c) {
		l.open--
	}
	l.mu.Unlock()
	return c.Conn.Close()
}

// leave takes c out of where it is, and reports whether it was anywhere.
func (l *Listener) leave(c *Connection) bool {
	if c.among == nil {
		return false
	}
	l.count(c, -c.requests)
	of := c.among[c.host]
	if of.Remove(c.place); of.Len() == 0 {
		delete(c.among, c.host)
	}
	c.among = nil
	return true
}

// crowd are connections by host.
type crowd map[string]*party

// party are the connections of a host, the oldest first.
type party struct {
	list.List
	requests int
}

func (c crowd) add(one *Connection) {
	if c[one.host] == nil {
		c[one.host] = new(party)
	}
	one.among, one.place = c, c[one.host].PushBack(one)
}

// oldest returns the oldest of the host that has the most, but not newest, which
// is the last one that came.
func (c crowd) oldest(newest *Connection) (first *Connection) {
	most := 0
	for _, of := range c {
		if one := of.Front().Value.(*Connection); of.Len() > most && one != newest {
			most, first = of.Len(), one
		}
	}
	return first
}

// busiest returns the one with the most requests of the host with the most; of
// equals, the oldest.
func (c crowd) busiest() (first *Connection) {
	most := new(party)
	for _, of := range c {
		if of.requests > most.requests {
			most = of
		}
	}
	for e := most.Front(); e != nil; e = e.Next() {
		if one := e.Value.(*Connection); first == nil || one.requests > first.requests {
			first = one
		}
	}
	return first
}

// Host is the part of an address that one machine can hardly change: of IPv6
// the first half. Of what is no IP address it is empty.
func Host(address string) string {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	ip, bits := parsed.Addr().Unmap(), 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // an address has as many
	return prefix.String()
}
