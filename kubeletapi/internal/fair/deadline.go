package fair

import (
	"errors"
	"math"
	"net"
	"sync"
	"time"
)

// firstLook is when a deadline is looked after at first: most are moved on before.
const firstLook = 10 * time.Second

// longAgo is before any moment that a deadline is set to, in Unix seconds, but for
// the one that net/http ends a read with: on each request, so no clock is read for it.
const longAgo = 1 << 29

// lazyConn is a connection on which a deadline costs next to nothing to move on,
// as a server does several times for each request. The connection itself gets
// only one that has passed; a timer looks after the others, which runs on from one
// to the next.
type lazyConn struct {
	net.Conn
	read, write deadline
}

// deadline is that of one direction.
type deadline struct {
	set func(time.Time) error // the connection's

	mu     sync.Mutex
	want   time.Time // zero is none
	passed bool      // set was told
	look   time.Time // when the timer does, not after want; zero is never
	timer  *time.Timer
	closed bool
}

func newLazyConn(conn net.Conn) *lazyConn {
	return &lazyConn{conn, deadline{set: conn.SetReadDeadline}, deadline{set: conn.SetWriteDeadline}}
}

func (c *lazyConn) SetReadDeadline(t time.Time) error { return c.read.move(t) }

func (c *lazyConn) SetWriteDeadline(t time.Time) error { return c.write.move(t) }

func (c *lazyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close ends the timers, which would keep the connection in memory.
func (c *lazyConn) Close() error {
	c.read.close()
	c.write.close()
	return c.Conn.Close()
}

func (d *deadline) move(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = t
	if d.passed {
		d.passed = false
		if err := d.set(time.Time{}); err != nil {
			return err
		}
	}
	if t.IsZero() || !d.look.IsZero() && !t.Before(d.look) {
		return nil
	}
	return d.wait(firstLook)
}

// wait has the deadline looked after when it passes, or after some time if that is
// less.
func (d *deadline) wait(most time.Duration) error {
	var left time.Duration
	if d.want.Unix() > longAgo {
		left = time.Until(d.want)
	}
	if left <= 0 {
		d.passed = true
		return d.set(d.want)
	}
	first := min(left, most)
	d.look = d.want.Add(first - left)
	switch {
	case d.closed:
	case d.timer == nil:
		d.timer = time.AfterFunc(first, d.fire)
	default:
		d.timer.Reset(first)
	}
	return nil
}

func (d *deadline) fire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look = time.Time{}
	if !d.want.IsZero() && !d.passed {
		d.wait(math.MaxInt64)
	}
}

func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
}
