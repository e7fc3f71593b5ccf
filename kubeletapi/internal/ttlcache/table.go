// Package ttlcache has the parts of a cache of answers: [Table] remembers them,
// bounded and until they expire, [Group] asks each question once, [Keyer] names
// credentials, and [Clock] tells what has not expired yet.
package ttlcache

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

const ways = 8

// Table remembers a bounded number of values by key, each until it expires.
// Reading takes no lock and allocates nothing. When there is no room for a new
// value, the one that expires first among those it competes with gives way. It
// is safe for concurrent use. Make one with [NewTable]; a nil *Table remembers
// nothing.
type Table[V any] struct {
	mu      sync.Mutex               // held to store, not to load
	sets    []atomic.Pointer[set[V]] // a power of two; nil until something is in it
	evicted atomic.Int64
}

type set[V any] [ways]atomic.Pointer[Entry[V]]

// Entry is a value that a Table remembers, in one piece with its key. Neither
// must change once it is in a table, unless V is safe for concurrent use.
type Entry[V any] struct {
	Key     Key
	expires atomic.Int64 // an Instant
	Value   V
}

// NewTable returns a table for size entries at the most, rounded up to a power
// of two and to at least eight.
func NewTable[V any](size int) *Table[V] {
	sets := 1
	for sets*ways < size {
		sets *= 2
	}
	return &Table[V]{sets: make([]atomic.Pointer[set[V]], sets)}
}

// Get returns the value of key, or nil, and whether there is one that has not
// expired at now. A value is expired from the very moment that it was given.
func (t *Table[V]) Get(key Key, now time.Time) (v *V, ok bool) {
	return t.find(key).get(now)
}

func (e *Entry[V]) get(now time.Time) (v *V, ok bool) {
	if e == nil {
		return nil, false
	}
	return &e.Value, Instant(e.expires.Load()).Left(now) > 0
}

// Extend is Get, and what it returns with true expires ttl after now instead.
func (t *Table[V]) Extend(key Key, now time.Time, ttl time.Duration) (v *V, ok bool) {
	e := t.find(key) // once: it may give way meanwhile
	if v, ok = e.get(now); ok {
		e.expires.Store(int64(After(now, ttl)))
	}
	return v, ok
}

func (t *Table[V]) find(key Key) *Entry[V] {
	if t == nil {
		return nil
	}
	s := t.set(key).Load()
	if s == nil {
		return nil
	}
	for i := range s {
		if e := s[i].Load(); e != nil && e.Key == key {
			return e
		}
	}
	return nil
}

// Put remembers an entry for ttl from now, in place of an older one with its key.
func (t *Table[V]) Put(e *Entry[V], now time.Time, ttl time.Duration) {
	if t == nil || ttl <= 0 {
		return
	}
	e.expires.Store(int64(After(now, ttl)))
	t.mu.Lock()
	defer t.mu.Unlock()
	place := t.set(e.Key)
	s := place.Load()
	if s == nil {
		s = new(set[V])
		place.Store(s)
	}
	way := s.way(e.Key)
	if old := way.Load(); old != nil && old.Key != e.Key && Instant(old.expires.Load()).Left(now) > 0 {
		t.evicted.Add(1)
	}
	way.Store(e)
}

// Evicted counts the values that gave way before they expired.
func (t *Table[V]) Evicted() int64 {
	if t == nil {
		return 0
	}
	return t.evicted.Load()
}

// way returns where key belongs: where it is, else a free place, else the place
// of the entry that expires first.
func (s *set[V]) way(key Key) *atomic.Pointer[Entry[V]] {
	var place *atomic.Pointer[Entry[V]]
	var first *Entry[V]
	for i := range s {
		e := s[i].Load()
		switch {
		case e != nil && e.Key == key:
			return &s[i]
		case place != nil && first == nil: // a free place is found; look on for key
		case e == nil || first == nil || e.expires.Load() < first.expires.Load():
			place, first = &s[i], e
		}
	}
	return place
}

// Len counts the entries, those that have expired and not given way included.
func (t *Table[V]) Len() int {
	n := 0
	for i := range t.sets {
		if s := t.sets[i].Load(); s != nil {
			for j := range s {
				if s[j].Load() != nil {
					n++
				}
			}
		}
	}
	return n
}

func (t *Table[V]) set(key Key) *atomic.Pointer[set[V]] {
	return &t.sets[binary.LittleEndian.Uint64(key[:])&uint64(len(t.sets)-1)]
}
