// Package ttlcache has the two halves of a cache of answers: [Table] remembers
// them, bounded and until they expire, and [Group] asks each question once.
package ttlcache

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// Key names an entry: a SHA-256 sum, so that no secret is kept and no caller
// can make two questions share a key.
type Key [32]byte

const ways = 8

// Table remembers a bounded number of values by key, each until it expires.
// Reading takes no lock and allocates nothing. When there is no room for a new
// value, the one that expires first among those it competes with gives way. It
// is safe for concurrent use. Make one with [NewTable]; a nil *Table remembers
// nothing.
type Table[V any] struct {
	sets []set[V] // a power of two
}

type set[V any] struct {
	mu   sync.Mutex // held to store, not to load
	ways [ways]atomic.Pointer[entry[V]]
}

type entry[V any] struct {
	key     Key
	expires time.Time
	value   V
}

// NewTable returns a table for size entries at the most, rounded up to a power
// of two and to at least eight.
func NewTable[V any](size int) *Table[V] {
	sets := 1
	for sets*ways < size {
		sets *= 2
	}
	return &Table[V]{sets: make([]set[V], sets)}
}

// Get returns the value of key, and whether there is one that has not expired
// at now. A value is expired from the very moment that it was given.
func (t *Table[V]) Get(key Key, now time.Time) (v V, ok bool) {
	if t == nil {
		return v, false
	}
	s := t.set(key)
	for i := range s.ways {
		if e := s.ways[i].Load(); e != nil && e.key == key {
			return e.value, now.Before(e.expires)
		}
	}
	return v, false
}

// Put remembers value for key until expires, in place of an older one.
func (t *Table[V]) Put(key Key, value V, now, expires time.Time) {
	if t == nil || !now.Before(expires) {
		return
	}
	s := t.set(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.way(key).Store(&entry[V]{key, expires, value})
}

// way returns where key belongs: where it is, else a free place, else the place
// of the entry that expires first.
func (s *set[V]) way(key Key) *atomic.Pointer[entry[V]] {
	var place *atomic.Pointer[entry[V]]
	var first *entry[V]
	for i := range s.ways {
		e := s.ways[i].Load()
		switch {
		case e != nil && e.key == key:
			return &s.ways[i]
		case place != nil && first == nil: // a free place is found; look on for key
		case e == nil || first == nil || e.expires.Before(first.expires):
			place, first = &s.ways[i], e
		}
	}
	return place
}

// Len counts the entries, those that have expired and not given way included.
func (t *Table[V]) Len() int {
	n := 0
	for i := range t.sets {
		for j := range t.sets[i].ways {
			if t.sets[i].ways[j].Load() != nil {
				n++
			}
		}
	}
	return n
}

func (t *Table[V]) set(key Key) *set[V] {
	return &t.sets[binary.LittleEndian.Uint64(key[:])&uint64(len(t.sets)-1)]
}
