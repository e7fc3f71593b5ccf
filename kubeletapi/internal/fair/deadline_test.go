package fair

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pipe counts how often the deadline of its reader is set.
type pipe struct {
	net.Conn
	set int
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.set++
	return p.Conn.SetReadDeadline(t)
}

// A read, and a write, ends at the deadline that was set last, and not before.
func TestDeadlines(t *testing.T) {
	const never = time.Hour
	for _, test := range []struct {
		name string
		set  []time.Duration // from the start, one a second; negative has passed, 0 is none
		ends time.Duration
	}{
		{"one", []time.Duration{5 * time.Second}, 5 * time.Second},
		{"a late one", []time.Duration{time.Minute}, time.Minute},
		{"none", []time.Duration{0}, never},
		{"moved on", []time.Duration{5 * time.Second, 20 * time.Second}, 20 * time.Second},
		{"moved on, late", []time.Duration{time.Minute, 2 * time.Minute}, 2 * time.Minute},
		{"moved back", []time.Duration{time.Minute, 5 * time.Second}, 5 * time.Second},
		{"moved back a little", []time.Duration{time.Minute, 50 * time.Second}, 50 * time.Second},
		{"to and fro", []time.Duration{time.Minute, 5 * time.Second, 2 * time.Minute, 30 * time.Second}, 30 * time.Second},
		{"taken away", []time.Duration{5 * time.Second, 0}, never},
		{"taken away and set", []time.Duration{5 * time.Second, 0, 7 * time.Second}, 7 * time.Second},
		{"taken away and set when that has passed", []time.Duration{2 * time.Second, 0, 0, 7 * time.Second}, 7 * time.Second},
		{"passed", []time.Duration{-time.Hour}, 0},
		{"passed while it is waited for", []time.Duration{time.Minute, -time.Hour}, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				defer server.Close()
				c, start := newLazyConn(server), time.Now()
				move := func(d time.Duration) {
					at := start.Add(d)
					if d == 0 {
						at = time.Time{}
					}
					c.SetDeadline(at)
				}
				move(test.set[0])
				ended := make(chan time.Duration, 2)
				for _, wait := range []func([]byte) (int, error){c.Read, c.Write} {
					go func() {
						if n, err := wait(make([]byte, 1)); n != 0 || err == nil {
							t.Errorf("got %d, %v", n, err)
						}
						ended <- time.Since(start)
					}()
				}
				for _, d := range test.set[1:] {
					time.Sleep(time.Second)
					move(d)
				}
				time.Sleep(never - time.Since(start))
				client.Close()
				for range 2 {
					if got := <-ended; got != test.ends {
						t.Errorf("ended after %v, not %v", got, test.ends)
					}
				}
			})
		})
	}
}

// What a server does for each request sets two deadlines, and after one that has
// passed a read goes on.
func TestDeadlinesAreLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		own := &pipe{Conn: server}
		c := newLazyConn(own)
		after := func(d time.Duration) { c.SetReadDeadline(time.Now().Add(d)) }
		for range 100 {
			after(90 * time.Second)
			go client.Write([]byte("x"))
			if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			after(10 * time.Second)
			after(time.Minute)
			c.SetReadDeadline(time.Time{})
			go func() {
				time.Sleep(time.Millisecond)
				c.SetReadDeadline(time.Unix(1, 0))
			}()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Time{})
		}
		if own.set != 200 {
			t.Errorf("set %d times for 100 requests", own.set)
		}
	})
}

// Nothing looks after a connection that is closed.
func TestDeadlinesEndWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		own := &pipe{Conn: server}
		c := newLazyConn(own)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		c.Close()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		time.Sleep(time.Hour)
		if own.set != 0 {
			t.Errorf("set %d times", own.set)
		}
	})
}
