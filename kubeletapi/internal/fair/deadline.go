package fair

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// firstWait is how long a deadline that moves on is waited for at first: most are
// moved again before, and an idle connection is looked at once more than needed.
const firstWait = 10 * time.Second

// lazyConn is a connection on which a deadline costs next to nothing to move on,
// as a server does several times for each request: the connection's own stays
// where it is, and whoever runs into it waits for the one that counts.
type lazyConn struct {
	net.Conn
	read, write deadline
}

// deadline is that of one direction. The connection's own never comes after it.
type deadline struct {
	mu     sync.Mutex
	want   time.Time // zero is none
	own    time.Time // the connection's
	passed bool      // own had passed when it was set
}

func (c *lazyConn) SetReadDeadline(t time.Time) error {
	return c.read.move(t, c.Conn.SetReadDeadline)
}

func (c *lazyConn) SetWriteDeadline(t time.Time) error {
	return c.write.move(t, c.Conn.SetWriteDeadline)
}

func (c *lazyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (d *deadline) move(t time.Time, set func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = t
	switch {
	case t.IsZero(): // whatever is set comes before
		return nil
	case !d.own.IsZero() && !d.passed && !t.Before(d.own):
		return nil
	}
	left := time.Until(t)
	if d.passed = left <= 0; left > firstWait {
		t = t.Add(firstWait - left)
	}
	d.own = t
	return set(t)
}

// again reports whether a wait that ended with err may go on, as the deadline that
// counts has not passed.
func (d *deadline) again(err error, set func(time.Time) error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.want.IsZero() && time.Until(d.want) <= 0 {
		return false
	}
	d.own, d.passed = d.want, false
	return set(d.want) == nil
}

// Read reads until the deadline that was set last.
func (c *lazyConn) Read(p []byte) (n int, err error) {
	for {
		n, err = c.Conn.Read(p)
		if err == nil || n > 0 || !c.read.again(err, c.Conn.SetReadDeadline) {
			return n, err
		}
	}
}

// Write writes until the deadline that was set last.
func (c *lazyConn) Write(p []byte) (n int, err error) {
	for {
		m, err := c.Conn.Write(p[n:])
		if n += m; err == nil || !c.write.again(err, c.Conn.SetWriteDeadline) {
			return n, err
		}
	}
}
