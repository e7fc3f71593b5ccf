package ttlcache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func key(i int) Key { return sha256.Sum256(fmt.Append(nil, i)) }

func entry[V any](k Key, v V) *Entry[V] { return &Entry[V]{Key: k, Value: v} }

func TestTableForgetsAtExpiry(t *testing.T) {
	now := time.Now()
	table := NewTable[string](8)
	table.Put(entry(key(1), "one"), now, time.Minute)
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Minute - 1, true}, {time.Minute, false}, {time.Hour, false}} {
		if _, ok := table.Get(key(1), now.Add(tt.after)); ok != tt.want {
			t.Errorf("Get after %v: got %v, want %v", tt.after, ok, tt.want)
		}
	}
	table.Put(entry(key(2), "two"), now, 0)
	if table.Len() != 1 {
		t.Error("a value that expires at once was stored")
	}
}

func TestTableExtends(t *testing.T) {
	now := time.Now()
	table := NewTable[string](8)
	table.Put(entry(key(1), "one"), now, time.Minute)
	if v, ok := table.Extend(key(1), now, time.Hour); !ok || *v != "one" {
		t.Error("a value in force was not extended")
	}
	if _, ok := table.Get(key(1), now.Add(time.Hour-1)); !ok {
		t.Error("it expired as if it had not been extended")
	}
	if _, ok := table.Extend(key(1), now.Add(time.Hour), time.Hour); ok {
		t.Error("an expired value was extended")
	}
	if _, ok := table.Get(key(1), now.Add(time.Hour)); ok {
		t.Error("and is in force again")
	}
	if _, ok := table.Extend(key(2), now, time.Hour); ok {
		t.Error("what is not there was extended")
	}
}

// What is extended may give way to another value at any moment.
func TestTableExtendsWhileItEvicts(t *testing.T) {
	now, table := time.Now(), NewTable[int](8)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for k := range 20_000 {
				e := entry(Key{byte(i), byte(k % 16)}, k)
				table.Put(e, now, time.Second)
				table.Extend(e.Key, now, time.Minute)
			}
		})
	}
	group.Wait()
}

func TestInstants(t *testing.T) {
	now := time.Now()
	for _, d := range []time.Duration{0, 1, -1, time.Hour, -time.Hour, 200 * 365 * 24 * time.Hour} {
		if got := After(now, d).Left(now); got != d {
			t.Errorf("%v after now is %v from now", d, got)
		}
	}
	if left := After(now.Add(time.Hour), math.MaxInt64).Left(now); left < 290*365*24*time.Hour {
		t.Errorf("the last moment is %v from now", left)
	}
}

func TestTableReplaces(t *testing.T) {
	now := time.Now()
	table := NewTable[int](8)
	for i := range 100 {
		table.Put(entry(key(1), i), now, time.Minute)
	}
	if v, ok := table.Get(key(1), now); *v != 99 || !ok || table.Len() != 1 {
		t.Errorf("got %d, %v and %d entries; want the last value, alone", *v, ok, table.Len())
	}
}

func TestTableIsBoundedAndDropsTheOldest(t *testing.T) {
	now := time.Now()
	table := NewTable[int](8) // one set: all keys compete
	for i := range 9 {
		table.Put(entry(key(i), i), now, time.Duration(i+1)*time.Minute)
	}
	if _, ok := table.Get(key(0), now); ok || table.Len() != 8 || table.Evicted() != 1 {
		t.Errorf("the entry that expires first is still there, among %d, after %d gave way", table.Len(), table.Evicted())
	}
	for i := 1; i < 9; i++ {
		if v, ok := table.Get(key(i), now); !ok || *v != i {
			t.Errorf("key %d: got %v, %v", i, v, ok)
		}
	}
	later := now.Add(3 * time.Minute) // two have expired, and make room
	table.Put(entry(key(9), 9), later, time.Hour)
	table.Put(entry(key(9), 9), later, time.Hour)
	if table.Evicted() != 1 {
		t.Errorf("%d gave way, of which one had not expired", table.Evicted())
	}
	big := NewTable[int](100)
	for i := range 10_000 {
		big.Put(entry(key(i), i), now, time.Minute)
	}
	if n := big.Len(); n > 128 {
		t.Errorf("%d entries in a table for 100, rounded up to 128", n)
	}
}

func TestNilTableRemembersNothing(t *testing.T) {
	var table *Table[int]
	table.Put(entry(key(1), 1), time.Now(), time.Hour)
	if _, ok := table.Get(key(1), time.Now()); ok {
		t.Error("a nil table answered")
	}
}

// A table answers nothing that was not put for that very key and is in force.
func TestTableAgainstMap(t *testing.T) {
	start := time.Now()
	table := NewTable[int](64)
	model := map[int]struct {
		v       int
		expires time.Time
	}{}
	for i := range 20_000 {
		now := start.Add(time.Duration(i) * time.Second)
		k := rand.IntN(200)
		if rand.IntN(2) == 0 {
			ttl := time.Duration(rand.IntN(300)) * time.Second
			expires := now.Add(ttl)
			table.Put(entry(key(k), i), now, ttl)
			if ttl > 0 {
				model[k] = struct {
					v       int
					expires time.Time
				}{i, expires}
			}
			continue
		}
		if v, ok := table.Get(key(k), now); ok && (model[k].v != *v || !now.Before(model[k].expires)) {
			t.Fatalf("step %d, key %d: got %d, want %v or nothing", i, k, *v, model[k])
		}
	}
}

func TestTableConcurrently(t *testing.T) {
	table := NewTable[int](64)
	now := time.Now()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5_000 {
				k := rand.IntN(300)
				table.Put(entry(key(k), k), now, time.Minute)
				if v, ok := table.Get(key(k), now); ok && *v != k {
					t.Errorf("key %d: got %d", k, *v)
				}
			}
		})
	}
	group.Wait()
}

func TestTableGetAllocatesNothing(t *testing.T) {
	now := time.Now()
	table := NewTable[int](64)
	table.Put(entry(key(1), 1), now, time.Minute)
	k := key(1)
	if n := testing.AllocsPerRun(100, func() { table.Get(k, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGroupAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Group[int, string]{Timeout: time.Minute}
		var asked atomic.Int32
		for range 100 {
			go func() {
				v, err := g.Do(t.Context(), 7, func(context.Context) (string, error) {
					asked.Add(1)
					time.Sleep(time.Second)
					return "seven", nil
				})
				if v != "seven" || err != nil {
					t.Errorf("got %q, %v", v, err)
				}
			}()
		}
		g2 := &g
		synctest.Wait()
		if g2.Len() != 1 {
			t.Errorf("%d flights", g2.Len())
		}
		time.Sleep(2 * time.Second)
		if asked.Load() != 1 || g2.Len() != 0 {
			t.Errorf("asked %d times, %d flights left", asked.Load(), g2.Len())
		}
		g2.Start(8, func(context.Context) (string, error) { return "", nil })
		if g2.Began() != 1 || g2.Joined() != 99 {
			t.Errorf("%d began and %d joined, of 100", g2.Began(), g2.Joined())
		}
	})
}

func TestGroupGoesOnWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Group[int, int]{Timeout: time.Minute}
		ctx, cancel := context.WithCancel(t.Context())
		var finished atomic.Bool
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		_, err := g.Do(ctx, 1, func(ctx context.Context) (int, error) {
			time.Sleep(10 * time.Second)
			finished.Store(ctx.Err() == nil)
			return 1, nil
		})
		if !errors.Is(err, context.Canceled) || finished.Load() {
			t.Errorf("the caller that left got %v", err)
		}
		time.Sleep(time.Minute)
		if !finished.Load() {
			t.Error("the flight ended with its caller")
		}
	})
}

func TestGroupCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Group[int, int]{Timeout: time.Minute}
		start, ended := time.Now(), false
		g.Start(1, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return 0, ctx.Err()
		})
		g.Close()
		if took := time.Since(start); took != time.Second || !ended {
			t.Errorf("closed after %v, when the flight had ended: %v", took, ended)
		}
		if _, err := g.Do(t.Context(), 2, func(context.Context) (int, error) { return 0, nil }); err == nil {
			t.Error("a flight started after the end")
		}
	})
}

func TestGroupBoundsAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Group[int, int]{Timeout: 10 * time.Second}
		start := time.Now()
		_, err := g.Do(t.Context(), 1, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		stuck := make(chan struct{}) // whatever its context says
		defer close(stuck)
		start = time.Now()
		_, err = g.Do(t.Context(), 2, func(context.Context) (int, error) { <-stuck; return 0, nil })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 11*time.Second {
			t.Errorf("stuck: got %v after %v", err, time.Since(start))
		}
	})
}

func TestGroupSurvivesAPanic(t *testing.T) {
	g := &Group[int, int]{Timeout: time.Minute}
	for _, p := range []any{"secret-token", errors.New("secret-token")} {
		_, err := g.Do(t.Context(), 1, func(context.Context) (int, error) { panic(p) })
		if err == nil || err.Error() != fmt.Sprintf("failed unexpectedly: panic with a %T", p) {
			t.Errorf("got %v", err)
		}
	}
	var m map[string]int
	if _, err := g.Do(t.Context(), 1, func(context.Context) (int, error) { m["x"] = 1; return 0, nil }); err == nil {
		t.Error("no error for a panic of the runtime")
	}
	if g.Len() != 0 {
		t.Error("a flight that panicked is still under way")
	}
}
