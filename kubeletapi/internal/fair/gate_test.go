package fair

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// A flood of those who are no good, in a line that is full all the time, from
// many connections of one host: who comes from elsewhere, or over a connection
// without a blemish, is next.
func TestGateHonestAmongFlood(t *testing.T) {
	for _, test := range []struct {
		name   string
		honest Source
		most   time.Duration
	}{
		{"another host", Source{Host: "b"}, 0},
		{"a good kind", Source{Host: "a", Kind: 7}, 0},
		{"another connection of the same host", Source{Host: "a", Connection: new(Record)}, 100 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const review = 5 * time.Millisecond
				g := &Gate{Concurrent: 8, Bucket: Bucket{Rate: 50, Burst: 100}, Waiting: 64, Patience: 5 * time.Second}
				g.welcome(7)
				ctx, stop := context.WithCancel(t.Context())
				var bad atomic.Int64
				for i := range 80 {
					go func() {
						source := Source{Host: "a", Connection: new(Record)}
						for ctx.Err() == nil {
							time.Sleep(time.Duration(i) * time.Microsecond)
							leave, err := g.enter(ctx, source)
							if err != nil {
								time.Sleep(10 * time.Millisecond)
								continue
							}
							bad.Add(1)
							time.Sleep(review)
							leave(Bad)
						}
					}()
				}
				time.Sleep(10 * time.Second) // the bucket is long empty, and every connection was refused
				synctest.Wait()
				for range 100 {
					start := time.Now()
					leave, err := g.enter(ctx, test.honest)
					if waited := time.Since(start); err != nil || waited > test.most {
						t.Fatalf("waited %v: %v", waited, err)
					}
					time.Sleep(review)
					leave(Good)
				}
				stop()
				synctest.Wait()
				if inside, waiting := g.Len(); inside+waiting > 8 {
					t.Errorf("%d inside and %d waiting when nobody is left", inside, waiting)
				}
				if n := bad.Load(); n < 500 || n > 100+50*15 {
					t.Errorf("%d were reviewed in 10 s and a little, of 50 a second and 100 at once", n)
				}
				time.Sleep(time.Minute) // those inside leave
			})
		})
	}
}

// Two hosts that are no good share what there is, however much more one asks.
func TestGateShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{Concurrent: 1, Waiting: 16, Patience: time.Second}
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		var admitted [2]atomic.Int64
		for i := range 20 {
			host := min(i, 1) // one of the first, nineteen of the second
			go func() {
				for ctx.Err() == nil {
					if leave, err := g.enter(ctx, Source{Host: fmt.Sprint(host)}); err == nil {
						admitted[host].Add(1)
						time.Sleep(time.Millisecond)
						leave(Bad)
					} else {
						time.Sleep(time.Millisecond)
					}
				}
			}()
		}
		<-ctx.Done()
		synctest.Wait()
		time.Sleep(time.Second)
		if a, b := admitted[0].Load(), admitted[1].Load(); a < 4000 || b < 4000 {
			t.Errorf("admitted %d and %d", a, b)
		}
	})
}

func TestGateBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		g := &Gate{Concurrent: 1, Waiting: 1, Patience: time.Second}
		leave, err := g.enter(ctx, Source{Host: "a"})
		if err != nil {
			t.Fatal(err)
		}
		// The line has one place: the host with the strike gives way to the one without.
		gone := make(chan error)
		go func() { _, err := g.enter(ctx, Source{Host: "a"}); gone <- err }()
		synctest.Wait()
		second := make(chan func(Outcome))
		go func() { leave, _ := g.enter(ctx, Source{Host: "b"}); second <- leave }()
		if err := <-gone; !errors.Is(err, ErrBusy) {
			t.Errorf("the last in line got %v", err)
		}
		if _, err := g.enter(ctx, Source{Host: "a"}); !errors.Is(err, ErrBusy) {
			t.Errorf("who is the last in a full line got %v", err)
		}
		leave(Unknown)
		leave = <-second
		// Patience ends.
		start := time.Now()
		if _, err := g.enter(ctx, Source{Host: "c"}); !errors.Is(err, ErrBusy) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		// So does a caller's context.
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := g.enter(canceled, Source{Host: "c"}); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		leave(Good)
		if inside, waiting := g.Len(); inside+waiting != 0 {
			t.Errorf("%d inside, %d waiting", inside, waiting)
		}
		if n := g.Refused(); n != 3 { // not who left
			t.Errorf("%d were refused", n)
		}
	})
}

// What is remembered of hosts is bounded, and a strike is forgotten in time.
func TestGateHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{Concurrent: 1, Waiting: 1, Patience: time.Second}
		for i := range 3 * maxHosts {
			leave, err := g.enter(t.Context(), Source{Host: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			leave(Bad)
			if n := len(g.hosts); i >= maxHosts && n < maxHosts/2 {
				t.Fatalf("only %d hosts are left, all of them bad of late", n)
			}
		}
		if n := len(g.hosts); n > maxHosts {
			t.Errorf("%d hosts", n)
		}
		r := new(Record)
		r.add(8, time.Now())
		time.Sleep(3 * halfLife)
		if left := r.left(time.Now()); left < 0.99 || left > 1.01 {
			t.Errorf("of 8 strikes, after three half lives, %v are left", left)
		}
		if r.add(-1, time.Now()); r.rank != 0 {
			t.Errorf("a rank of %v without strikes", r.rank)
		}
	})
}

func TestBucket(t *testing.T) {
	now := time.Now()
	b := Bucket{Rate: 10, Burst: 2}
	for _, step := range []struct {
		after time.Duration
		give  bool
		want  bool
	}{
		{0, false, true}, {0, false, true}, {0, false, false}, {99 * time.Millisecond, false, false},
		{2 * time.Millisecond, false, true}, {0, false, false}, {0, true, true}, {time.Hour, false, true}, {0, false, true}, {0, false, false},
	} {
		now = now.Add(step.after)
		if step.give {
			b.Return()
		}
		if got := b.Take(now); got != step.want {
			t.Errorf("%+v: %v", step, got)
		}
	}
	if until := b.Until(now, 1); until < 199*time.Millisecond || until > 201*time.Millisecond {
		t.Errorf("one beside the one that is kept comes in %v", until)
	}
	if until := b.Until(now, 0); until < 99*time.Millisecond || until > 101*time.Millisecond {
		t.Errorf("the next token comes in %v", until)
	}
	for range 1000 {
		if !new(Bucket).Take(now) {
			t.Fatal("a bucket without a rate is empty")
		}
	}
}

// Each row puts callers of one host into the line, over fresh connections; an
// upper-case letter is one of a kind that was good. Those are admitted in this
// order.
func TestGateKinds(t *testing.T) {
	const good = 7
	for _, test := range []struct {
		name, row, want string
		forged          int
		later           time.Duration
	}{
		{"the last of equals first", "abc", "cba", 0, 0},
		{"a good kind first", "aBcDe", "DBeca", 0, 0},
		{"one that was refused at times", "aBcDe", "DBeca", maxStrikes - 1, 0},
		{"one that is forged counts for nothing", "aBcDe", "eDcBa", maxStrikes + 1, 0},
		{"until that is over", "aBcDe", "DBeca", maxStrikes + 1, halfLife},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &Gate{Concurrent: 1, Waiting: 16, Patience: time.Minute}
				enter := func(kind uint64) func(Outcome) {
					leave, err := g.enter(t.Context(), Source{Host: "a", Kind: kind})
					if err != nil {
						t.Error(err)
						return func(Outcome) {}
					}
					return leave
				}
				enter(good)(Good)
				for range test.forged {
					enter(good)(Bad)
				}
				time.Sleep(test.later)
				leave, got := enter(0), ""
				for _, c := range test.row {
					kind := uint64(good)
					if c >= 'a' {
						kind = good + 1
					}
					go func() {
						leave := enter(kind)
						got += string(c) // one at a time is inside
						leave(Unknown)
					}()
					synctest.Wait()
				}
				leave(Unknown)
				synctest.Wait()
				if got != test.want {
					t.Errorf("%s, not %s", got, test.want)
				}
			})
		})
	}
}

// What is remembered of kinds is bounded, and bad ones are not.
func TestGateKindsAreBounded(t *testing.T) {
	g := &Gate{Concurrent: 1, Waiting: 1, Patience: time.Second}
	for i := range 3 * maxKinds {
		for _, o := range []Outcome{Bad, Unknown} {
			leave, _ := g.enter(t.Context(), Source{Kind: uint64(1000 + i)})
			leave(o)
		}
		leave, _ := g.enter(t.Context(), Source{Kind: uint64(i)})
		leave(Good)
	}
	if n := len(g.kinds); n != maxKinds || g.kinds[3*maxKinds-1] == nil {
		t.Errorf("%d kinds, of %d", n, maxKinds)
	}
	for kind := range g.kinds {
		if kind == 0 || kind >= 1000 {
			t.Errorf("remembers %d, which was never good", kind)
		}
	}
}

// Whoever panics has left, and a nil gate is open.
func TestGateDo(t *testing.T) {
	g := &Gate{Concurrent: 1, Bucket: Bucket{Rate: 1, Burst: 9}, Waiting: 1, Patience: time.Minute}
	func() {
		defer func() { recover() }()
		g.Do(t.Context(), Source{}, func() Outcome { panic("x") })
	}()
	if inside, waiting := g.Len(); inside+waiting != 0 {
		t.Errorf("%d are inside and %d wait", inside, waiting)
	}
	if g.Bucket.missing != 1 {
		t.Errorf("who panicked has cost %v", g.Bucket.missing)
	}
	for _, gate := range []*Gate{g, nil} {
		asked := false
		if err := gate.Do(t.Context(), Source{}, func() Outcome { asked = true; return Good }); err != nil || !asked {
			t.Errorf("asked: %t, %v", asked, err)
		}
	}
}

// A host with a strike, and one with many, are told apart whatever is done to the
// node's clock.
func TestRankWhenTheClockIsSet(t *testing.T) {
	start := time.Now()
	for name, by := range map[string]time.Duration{"not": 0, "back": -time.Hour, "on": time.Hour} {
		var clean, one, many Record
		one.add(1, start)
		many.add(maxStrikes*4, start)
		now := start.Add(halfLife)
		(*[3]uint64)(unsafe.Pointer(&now))[0] += uint64(by/time.Second) << 30 // the wall clock's seconds
		if now.Sub(start) != halfLife {
			t.Fatal("a time.Time has changed")
		}
		if bad := rank(maxStrikes, now); clean.rank >= one.rank || one.rank >= bad || many.rank < bad {
			t.Errorf("set %s: of the ranks %v, %v and %v, the last has to be at least %v", name, clean.rank, one.rank, many.rank, bad)
		}
	}
}

// Of equals in a line that is too long, the one goes who came first: it would be
// admitted last.
func TestGateTurnsTheFirstOfEqualsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{Concurrent: 1, Waiting: 2, Patience: time.Minute}
		leave, _ := g.enter(t.Context(), Source{Host: "a"})
		errs := [3]error{}
		for i := range errs {
			go func() {
				leave, err := g.enter(t.Context(), Source{Host: "a"})
				if errs[i] = err; err == nil {
					leave(Unknown)
				}
			}()
			synctest.Wait()
		}
		leave(Unknown)
		synctest.Wait()
		if errs != [3]error{ErrBusy, nil, nil} {
			t.Error(errs)
		}
	})
}
