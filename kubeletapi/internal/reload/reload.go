// Package reload keeps what files mean up to date while they change on disk.
package reload

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

const maxFileBytes = 1 << 20

// Value is what one or more files mean. When their contents change, by being
// rewritten, renamed over, or by a symlink being swapped, the new contents are
// parsed whole and replace the old ones; contents that cannot be read or parsed
// leave the last good value in force. It is safe for concurrent use.
type Value[T any] struct {
	load    func(read ReadFunc) (T, error)
	report  func(error)
	turn    *Turn
	failed  atomic.Pointer[error]
	current atomic.Pointer[snapshot[T]]
}

// ReadFunc reads a whole regular file of at most 1 MiB.
type ReadFunc func(path string) ([]byte, error)

type snapshot[T any] struct {
	value T
	files map[string][sha256.Size]byte // contents by path
}

// New returns the Value that load makes of the files it reads. All of its
// reading must go through read, which remembers what to watch. An error of this
// first load is returned as it is. Later, report is called with nil after each
// change that was taken over, and with the error of one that was not, once for
// as long as the error stays the same. It may be nil.
func New[T any](load func(read ReadFunc) (T, error), report func(error)) (*Value[T], error) {
	if report == nil {
		report = func(error) {}
	}
	v := &Value[T]{load: load, report: report, turn: NewTurn()}
	first, err := v.read()
	if err != nil {
		return nil, err
	}
	v.current.Store(first)
	return v, nil
}

// Get returns the value in force. Twice a second, one of its callers looks at
// the files before it answers, and the others go on with the value they have:
// there is no goroutine to stop.
func (v *Value[T]) Get() T { return v.GetAt(time.Now()) }

// GetAt is Get for a caller who has a clock of its own, which may be behind.
func (v *Value[T]) GetAt(now time.Time) T {
	v.turn.Take(now, v.look)
	return v.current.Load().value
}

// Reload looks at the files now, and returns the value in force.
func (v *Value[T]) Reload() T {
	v.turn.Wait(v.look)
	return v.current.Load().value
}

// Err returns why the contents that the last look found could not be taken
// over, or nil if they are in force.
func (v *Value[T]) Err() error {
	if err := v.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// look takes over what changed. A file that comes back to the contents it had
// is a recovery from a failure, not a change.
func (v *Value[T]) look() {
	if !v.current.Load().stale() {
		v.failed.Store(nil)
		return
	}
	changed, err := v.read()
	if err == nil {
		v.current.Store(changed)
		v.failed.Store(nil)
		v.report(nil)
	} else if before := v.failed.Swap(&err); before == nil || err.Error() != (*before).Error() {
		v.report(err)
	}
}

func (v *Value[T]) read() (*snapshot[T], error) {
	s := &snapshot[T]{files: map[string][sha256.Size]byte{}}
	var err error
	s.value, err = v.load(func(path string) ([]byte, error) {
		content, err := readFile(path)
		s.files[path] = digest(content, err)
		return content, err
	})
	return s, err
}

func (s *snapshot[T]) stale() bool {
	for path, sum := range s.files {
		if digest(readFile(path)) != sum {
			return true
		}
	}
	return false
}

// digest is zero for a file that cannot be read.
func digest(content []byte, err error) (sum [sha256.Size]byte) {
	if err == nil {
		sum = sha256.Sum256(content)
	}
	return sum
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before opening, which would wait for a FIFO's writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", maxFileBytes)}
	}
	if err != nil {
		return nil, err // and not a part, which could be taken for all
	}
	return content, nil
}
