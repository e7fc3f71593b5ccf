package fair

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrBusy is why somebody was turned away.
var ErrBusy = errors.New("too many ask whom this server does not know")

// Gate lets those in, a few at a time, of whom only the end will show whether
// they are any good. Those that are no good cost tokens of the Bucket, a quarter
// of which is kept for the trusted: those whose host had few that were no good of
// late, or who are of a kind that was good and had few. They come first, then
// those whose host has had the fewest, then those of a kind that was good, then
// those whose connection has tried the least, unless it was good, and then those
// who came last: where not all can be served in time, some are at once. It is safe
// for concurrent use; its exported fields must not change once it is used. A nil
// *Gate lets everyone in.
type Gate struct {
	Concurrent int // inside at once
	Bucket     Bucket
	Waiting    int           // who may wait; whoever comes last in line is turned away
	Patience   time.Duration // how long

	mu      sync.Mutex
	inside  int
	line    []*caller // in the order in which they came
	hosts   map[string]*Record
	refused int64
	kinds   map[uint64]*Record // that were good
	timer   *time.Timer        // until the bucket has a token for the first in line
}

// Source is where a caller comes from. Connection is nil if that is not known; no
// other Gate may be given it. Kind is what good callers may have in common, and 0 if
// there is nothing of that sort. Anyone may claim to be of a kind.
type Source struct {
	Host       string
	Kind       uint64
	Connection *Record
}

// KindOf names what tokens have in common that one key signed, which is the header
// of a JSON Web Token; 0 for others.
func KindOf(token string) uint64 {
	header, rest, _ := strings.Cut(token, ".")
	if strings.Count(rest, ".") != 1 {
		return 0
	}
	sum := sha256.Sum256([]byte(header))
	return binary.LittleEndian.Uint64(sum[:])
}

// Outcome is what turned out about a caller.
type Outcome uint8

const (
	Bad     Outcome = iota
	Good            // costs nothing
	Unknown         // as no answer came: costs a token, and is not held against anyone
)

// Record is how often a host or a connection was no good of late. The zero value
// is one without a blemish.
type Record struct {
	strikes float64 // that there were at a moment; half as many, halfLife later
	at      time.Time
	rank    float64 // grows with the strikes that are left, and is comparable at any moment; 0 for none
}

const (
	halfLife   = 10 * time.Second
	maxHosts   = 4096
	maxKinds   = 64
	maxStrikes = 8 // of a host or a kind that is trusted
)

func (r *Record) add(strikes float64, now time.Time) {
	r.strikes, r.at = r.left(now)+strikes, now
	if r.rank = rank(r.strikes, now); r.strikes < 0.01 {
		r.strikes, r.rank = 0, 0
	}
}

// epoch is where ranks are counted from, by the monotonic clock: whoever had
// strikes before the node's clock is set back is not the last until it has caught up.
// It is long ago, in a test with a clock of its own too, as a rank is more than 0.
var epoch = time.Now().Add(-100 * 365 * 24 * time.Hour)

func rank(strikes float64, now time.Time) float64 {
	return now.Sub(epoch).Seconds()/halfLife.Seconds() + math.Log2(strikes)
}

func (r *Record) left(now time.Time) float64 {
	return r.strikes * math.Exp2(-now.Sub(r.at).Seconds()/halfLife.Seconds())
}

type caller struct {
	host, connection *Record
	kind             *Record       // nil if none of that kind was good
	rank             float64       // of the connection, before this try
	turn             chan struct{} // closed when it comes, and if it never will
	admitted         bool
}

// standing is what decides who comes first: the smaller, by one field after the
// other. For equals, the line decides.
type standing struct {
	untrusted  int // 0 or 1
	host       float64
	stranger   int // 0 for one of a kind that was good
	connection float64
}

// standing is that of a caller, where a rank of bad is too high to be trusted.
func (c *caller) standing(bad float64) standing {
	s := standing{untrusted: 1, host: c.host.rank, stranger: 1, connection: c.rank}
	if c.kind != nil && c.kind.rank < bad {
		s.stranger = 0
	}
	if s.stranger == 0 || s.host < bad {
		s.untrusted = 0
	}
	return s
}

func (s standing) compare(other standing) int {
	return cmp.Or(
		cmp.Compare(s.untrusted, other.untrusted), cmp.Compare(s.host, other.host),
		cmp.Compare(s.stranger, other.stranger), cmp.Compare(s.connection, other.connection))
}

// Do calls ask when it is the caller's turn, and takes note of what it shows. It
// returns ErrBusy to those who are turned away, and ctx's error if that ends first.
// A nil Gate lets everyone in at once.
func (g *Gate) Do(ctx context.Context, from Source, ask func() Outcome) error {
	leave, err := g.enter(ctx, from)
	if err != nil {
		return err
	}
	end := Unknown // if it panics
	defer func() { leave(end) }()
	end = ask()
	return nil
}

// enter waits until it is the caller's turn, and returns a function that must be
// called at the end. It returns ErrBusy to those who are turned away, and ctx's
// error if that ends first.
func (g *Gate) enter(ctx context.Context, from Source) (leave func(Outcome), err error) {
	if g == nil {
		return func(Outcome) {}, nil
	}
	c := g.join(from)
	select {
	case <-c.turn:
	case <-time.After(g.Patience):
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.admitted {
		g.line = slices.DeleteFunc(g.line, func(other *caller) bool { return other == c })
		if err = cmp.Or(err, ErrBusy); err == ErrBusy {
			g.refused++
		}
		return nil, err
	}
	return func(o Outcome) { g.leave(c, from.Kind, o) }, nil // also if it was late, as it has its turn
}

// join puts a caller into the line and, if that is too long, turns the last away.
func (g *Gate) join(from Source) *caller {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	c := &caller{host: g.host(from.Host, now), kind: g.kinds[from.Kind], connection: cmp.Or(from.Connection, new(Record)), turn: make(chan struct{})}
	c.rank = c.connection.rank
	c.connection.add(1, now)
	g.line = append(g.line, c)
	if len(g.line) == 1 || c.standing(rank(maxStrikes, now)).untrusted == 0 { // else c waits for what the others do
		g.admit(now)
	}
	if len(g.line) > g.Waiting {
		last, _ := g.find(now, func(order int) bool { return order > 0 })
		close(g.take(last).turn)
	}
	return c
}

// host returns the record of a host. Of too many, those are forgotten that were
// no good long ago, and any half of the rest.
func (g *Gate) host(name string, now time.Time) *Record {
	if r := g.hosts[name]; r != nil {
		return r
	}
	if g.hosts == nil {
		g.hosts = map[string]*Record{}
	}
	if len(g.hosts) >= maxHosts {
		maps.DeleteFunc(g.hosts, func(_ string, r *Record) bool { return r.left(now) < 0.5 })
		maps.DeleteFunc(g.hosts, func(string, *Record) bool { return len(g.hosts) > maxHosts/2 }) // so that this is not to be done for each new host
	}
	g.hosts[name] = new(Record)
	return g.hosts[name]
}

// admit lets those in whose turn it is.
func (g *Gate) admit(now time.Time) {
	for len(g.line) > 0 && g.inside < g.Concurrent {
		first, standing := g.find(now, func(order int) bool { return order <= 0 })
		kept := float64(standing.untrusted) * math.Floor(g.Bucket.Burst/4)
		if after := g.Bucket.Until(now, kept); after > 0 {
			g.wake(after)
			return
		}
		g.Bucket.Take(now)
		c := g.take(first)
		g.inside++
		c.host.add(1, now) // until it turns out to be good
		c.admitted = true
		close(c.turn)
	}
}

// find returns the place in line of the one who is before all others.
func (g *Gate) find(now time.Time, before func(order int) bool) (at int, found standing) {
	bad := rank(maxStrikes, now)
	for i, c := range g.line {
		if s := c.standing(bad); i == 0 || before(s.compare(found)) {
			at, found = i, s
		}
	}
	return at, found
}

func (g *Gate) take(at int) *caller {
	c := g.line[at]
	g.line = slices.Delete(g.line, at, at+1)
	return c
}

func (g *Gate) wake(after time.Duration) {
	if g.timer != nil {
		g.timer.Reset(after)
		return
	}
	g.timer = time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.admit(time.Now())
	})
}

func (g *Gate) leave(c *caller, kind uint64, o Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.inside--
	switch {
	case o == Good:
		g.Bucket.Return()
		g.welcome(kind)
	case o == Bad && c.kind != nil:
		c.kind.add(1, now)
	}
	if o != Bad {
		c.host.add(-1, now)
		c.connection.add(-1, now)
	}
	g.admit(now)
}

// welcome remembers that one of a kind was good. Of too many, any is forgotten.
func (g *Gate) welcome(kind uint64) {
	if kind == 0 || g.kinds[kind] != nil {
		return
	}
	if g.kinds == nil {
		g.kinds = map[uint64]*Record{}
	}
	for other := range g.kinds {
		if len(g.kinds) < maxKinds {
			break
		}
		delete(g.kinds, other)
	}
	g.kinds[kind] = new(Record)
}

// Len counts those inside, and those who wait.
func (g *Gate) Len() (inside, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside, len(g.line)
}

// Refused counts those who were turned away.
func (g *Gate) Refused() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}
