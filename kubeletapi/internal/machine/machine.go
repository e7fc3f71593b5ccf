// Package machine reads what a Linux machine says of itself in /proc, /sys and
// /etc. What a file does not say is left out, never guessed: absent, empty,
// overlong, cut off and malformed are all the same. On other systems that is
// everything.
package machine

import (
	"encoding/json"
	"maps"
	"reflect"
	"sync"
	"time"
)

// fresh is how long a reading is shared: whoever asks more often than that gets
// the same one.
const fresh = time.Second

// Reader reads one machine, when it is asked and not more than once a second.
// The zero value reads this one. It is safe for concurrent use, and starts no
// goroutine.
type Reader struct {
	// Root is the folder with the machine's proc, sys and etc. Empty is this
	// machine's own.
	Root string
	// Statfs asks for the size of the file system that holds a path of the
	// machine, nil if it cannot be known. Nil asks the system.
	Statfs func(path string) *Space

	stats shared[*Stats]
	info  shared[Object]
}

// Stats returns how the machine is used. CPU rates are over the time since the
// reading before, if that was not longer than 10 minutes ago; the first reading
// has none. The answer is shared: do not change it.
func (r *Reader) Stats() *Stats { return r.stats.get(r.readStats) }

// Info returns what the machine is made of: cAdvisor's MachineInfo. The answer
// is shared: do not change it.
func (r *Reader) Info() Object { return r.info.get(r.readInfo) }

// shared is a reading that all get who ask within a second. It is locked while
// reading, so that they wait for one.
type shared[T any] struct {
	sync.Mutex
	at    time.Time
	value T
}

func (s *shared[T]) get(read func(now time.Time, last T) T) T {
	s.Lock()
	defer s.Unlock()
	now := time.Now()
	if age := now.Sub(s.at); age < 0 || age >= fresh {
		s.at, s.value = now, read(now, s.value)
	}
	return s.value
}

// Object is a JSON object. Nil pointers and empty strings, lists and objects
// are what is not known, and left out.
type Object map[string]any

// MarshalJSON encodes what is known.
func (o Object) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]any(o.known())) }

// known is a copy.
func (o Object) known() Object {
	known := maps.Clone(o)
	maps.DeleteFunc(known, func(_ string, value any) bool {
		switch v := reflect.ValueOf(value); v.Kind() {
		case reflect.Pointer:
			return v.IsNil()
		case reflect.Map, reflect.Slice, reflect.String:
			return v.Len() == 0
		}
		return false
	})
	return known
}

// timed is what is known and the time, if anything is known.
func timed(at time.Time, o Object) Object {
	o = o.known()
	if len(o) > 0 {
		o["time"] = at
	}
	return o
}

// Space is the size of a file system.
type Space struct {
	Capacity, Free, Available uint64 // bytes; what is available is for anyone but root
	Inodes, InodesFree        uint64 // 0 if the file system does not count them
}
