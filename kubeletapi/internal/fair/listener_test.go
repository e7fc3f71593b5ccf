package fair

import (
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var aLongTimeAgo = time.Unix(1, 0)

func TestHost(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.2.3:4":                     "10.1.2.3/32",
		"[::ffff:10.1.2.3]:4":            "10.1.2.3/32",
		"[2001:db8:1:2:3:4:5:6]:4":       "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::]:65535":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:4":               "fe80::/64",
		"@":                              "",
		"":                               "",
		"10.1.2.3":                       "",
		"somewhere.example:4":            "",
		"[2001:db8:1:3:3:4:5:6%25x]:443": "2001:db8:1:3::/64",
	} {
		if got := Host(address); got != want {
			t.Errorf("%s: %q, not %q", address, got, want)
		}
	}
}

// fakeListener accepts connections from addresses that are queued.
type fakeListener struct{ next chan any }

func (l fakeListener) Accept() (net.Conn, error) {
	switch next := (<-l.next).(type) {
	case error:
		return nil, next
	case string:
		a, _ := net.Pipe()
		return fakeConn{a, next}, nil
	}
	return nil, net.ErrClosed
}
func (fakeListener) Close() error   { return nil }
func (fakeListener) Addr() net.Addr { return nil }

type fakeConn struct {
	net.Conn
	from string
}

func (c fakeConn) RemoteAddr() net.Addr { return address(c.from) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// Each row takes connections of a number of hosts; a capital letter is one that
// is vouched for, and "!" a file descriptor that is missing. Then those are left,
// by their place in the row.
func TestListenerEvicts(t *testing.T) {
	for _, test := range []struct{ row, left string }{
		{"abc", "abc"},
		{"abcd", "bcd"}, // all have one, the oldest of any
		{"aaab", "-aab"},
		{"baaa", "b-aa"},
		{"baaaa", "b--aa"},
		{"AAAb", "-AAb"},       // all others are vouched for: so that nobody can keep everyone out
		{"AAAbc", "-AA-c"},     // but strangers cost those no more than one
		{"AAABcde", "--AB--e"}, // B and c cost one each, d and e those before them
		{"BAAc", "B-Ac"},
		{"ab!c", "?"},
	} {
		t.Run(test.row, func(t *testing.T) {
			inner := fakeListener{make(chan any, 100)}
			evicted := 0
			l := &Listener{Listener: inner, Max: 3, Evicted: func() { evicted++ }}
			var open []*Connection
			for _, host := range test.row {
				if host == '!' {
					inner.next <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
					continue
				}
				inner.next <- "[2001:db8:0:" + strings.ToLower(string(host)) + "::1]:4"
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, c.(*Connection))
				if host < 'a' {
					c.(*Connection).Vouch()
					c.(*Connection).Vouch()
				}
			}
			if test.left == "?" {
				if evicted != 1 || l.open != 2 {
					t.Errorf("%d evicted, %d open", evicted, l.open)
				}
				return
			}
			got, left := "", 0
			for i, c := range open {
				if err := c.SetDeadline(aLongTimeAgo); err == nil {
					got += test.row[i : i+1]
					left++
				} else {
					got += "-"
				}
			}
			if test.row == "abcd" { // the oldest of any host
				if left != 3 || got[3] != 'd' && strings.Count(got, "-") != 1 {
					t.Errorf("left %s", got)
				}
			} else if got != test.left {
				t.Errorf("left %s, not %s", got, test.left)
			}
			if l.open != left || evicted != len(test.row)-left {
				t.Errorf("%d are open and %d evicted, of %d", l.open, evicted, len(test.row))
			}
			for _, c := range open {
				c.Close()
				c.Close()
			}
			if l.open != 0 || len(l.guests)+len(l.vouched) != 0 {
				t.Errorf("%d open, %d hosts", l.open, len(l.guests))
			}
		})
	}
}

// Each row begins requests, of a host each; a digit says over which of its
// connections. "A" vouches for a's first, and "-" ends the first of b's first. Of
// more than four that are under way, these connections are closed.
func TestListenerBoundsRequests(t *testing.T) {
	for _, test := range []struct {
		row, closed string
		left        int
	}{
		{"a0a0a0b0", "", 4},
		{"a0a0a0b0b0", "a0", 2},
		{"b0b0a0b0-a0", "", 4},
		{"a0a1b0b1c0", "a0", 4},     // of equals, the oldest of one that has most
		{"a0a1a1b0b0", "a1", 3},     // the one that has most of the host that has most
		{"a0a0a0a0Aa0b0b0", "", 2},  // those of whom somebody vouches are not counted
		{"a0a0a0a0a0b0b0", "a0", 2}, // also if there is nobody else
		{"a0a0a0a0a0a0a0", "a0", 0}, // and what comes after that is not counted
	} {
		t.Run(test.row, func(t *testing.T) {
			inner := fakeListener{make(chan any, 1)}
			l := &Listener{Listener: inner, MaxRequests: 4}
			open := map[string]*Connection{}
			for _, name := range []string{"a0", "a1", "b0", "b1", "c0"} {
				inner.next <- "[2001:db8:0:" + name[:1] + "::1]:4"
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				open[name] = c.(*Connection)
			}
			begun := []*Connection{}
			for row := test.row; row != ""; {
				switch row[0] {
				case 'A':
					open["a0"].Vouch()
					row = row[1:]
				case '-':
					open["b0"].End()
					row = row[1:]
				default:
					open[row[:2]].Begin()
					begun = append(begun, open[row[:2]])
					row = row[2:]
				}
			}
			closed := ""
			for _, name := range slices.Sorted(maps.Keys(open)) {
				if open[name].SetDeadline(aLongTimeAgo) != nil {
					closed += name
				}
			}
			if closed != test.closed && !(test.row == "a0a1b0b1c0" && closed == "b0") {
				t.Errorf("closed %s, not %s", closed, test.closed)
			}
			if l.requests != test.left {
				t.Errorf("%d are under way, not %d", l.requests, test.left)
			}
			for _, c := range begun {
				c.End()
			}
			if l.requests != 0 {
				t.Errorf("%d are under way when all have ended", l.requests)
			}
		})
	}
	if (*Connection)(nil).Begin() { // of a server without a Listener
		t.Error("nothing has begun")
	}
}

func TestLogHandler(t *testing.T) {
	var out strings.Builder
	logger := slog.New(NewLogHandler(slog.NewTextHandler(&out, nil), 0.001, 3)).With("a", 1)
	for range 10 {
		logger.Info("flood")
	}
	logger.Error("trouble")
	logger.WithGroup("g").Error("trouble", "b", 2)
	if got := strings.Count(out.String(), "flood"); got != 3 {
		t.Errorf("%d lines of 3", got)
	}
	if got := strings.Count(out.String(), "trouble"); got != 2 {
		t.Errorf("errors: %d lines of 2:\n%s", got, &out)
	}
	h := logger.Handler().(*LogHandler)
	h.limits[0].bucket.missing = 0
	logger.Info("flood")
	if !strings.HasSuffix(out.String(), "msg=flood a=1 dropped=7\n") {
		t.Errorf("the next line does not say how many there were:\n%s", &out)
	}
}

// Whoever is at the other end, a connection is closed, unless it is a handler's.
func TestListenerClosesAll(t *testing.T) {
	var l Listener
	var all []*Connection
	for i := range 9 {
		client, server := net.Pipe()
		defer client.Close()
		c := &Connection{Conn: server, from: &l, host: string(rune('a' + i%2))}
		defer c.Close()
		l.add(c)
		if i%3 == 0 {
			c.Vouch()
		}
		all = append(all, c)
	}
	all[4].taken.Store(true)
	l.CloseAll()
	for i, c := range all {
		if err := c.SetDeadline(time.Time{}); (err == nil) != (i == 4) {
			t.Errorf("number %d: %v", i, err)
		}
	}
}
