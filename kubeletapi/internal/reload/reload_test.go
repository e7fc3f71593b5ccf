package reload

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a folder with two files that must have the same length, as a
// certificate must fit its key.
type world struct {
	t    *testing.T
	dir  string
	errs []string // what was reported; "" for a reload
	v    *Value[string]
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir()}
	w.write("a", "one")
	w.write("b", "eno")
	var err error
	w.v, err = New(w.load, func(err error) {
		if err == nil {
			err = errors.New("")
		}
		w.errs = append(w.errs, err.Error())
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) load(read ReadFunc) (string, error) {
	a, err := read(filepath.Join(w.dir, "a"))
	if err != nil {
		return "", err
	}
	b, err := read(filepath.Join(w.dir, "b"))
	if err != nil {
		return "", err
	}
	if len(a) != len(b) || len(a) == 0 {
		return "", errors.New("a and b do not fit")
	}
	return string(a), nil
}

func (w *world) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// after lets the time pass in which files are not looked at.
func (w *world) after(want string, reports ...string) {
	w.t.Helper()
	time.Sleep(interval)
	if got := w.v.Get(); got != want {
		w.t.Errorf("got %q, want %q", got, want)
	}
	if strings.Join(w.errs, "|") != strings.Join(reports, "|") {
		w.t.Errorf("reported %q, want %q", w.errs, reports)
	}
	w.errs = nil
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.after("one")
		w.write("a", "three")
		w.after("one", "a and b do not fit") // half of a pair
		w.after("one")                       // said once
		w.write("b", "eerht")
		w.after("three", "")
		w.write("a", "")
		w.after("three", "a and b do not fit")
		w.write("a", "three")
		w.after("three") // what it was
		w.write("a", "")
		w.after("three", "a and b do not fit") // a new failure
		os.Remove(filepath.Join(w.dir, "a"))
		time.Sleep(interval)
		if w.v.Get() != "three" || len(w.errs) != 1 || !strings.Contains(w.errs[0], "no such file") && !strings.Contains(w.errs[0], "cannot find") {
			t.Errorf("vanished file: %q, reported %q", w.v.Get(), w.errs)
		}
	})
}

func TestRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("new", "two")
		if err := os.Rename(filepath.Join(w.dir, "new"), filepath.Join(w.dir, "a")); err != nil {
			t.Fatal(err)
		}
		if w.v.Get() != "one" {
			t.Error("looked at the file too soon")
		}
		w.after("two", "")
	})
}

// A mounted Secret is a symlink to a folder, which is swapped.
func TestSymlinkSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for name, content := range map[string]string{"v1": "one", "v2": "two"} {
			os.Mkdir(filepath.Join(w.dir, name), 0o700)
			w.write(filepath.Join(name, "a"), content)
		}
		link := func(to string) {
			if err := os.Symlink(to, filepath.Join(w.dir, "tmp")); err != nil {
				t.Skip("no symlinks here:", err)
			}
			os.Rename(filepath.Join(w.dir, "tmp"), filepath.Join(w.dir, "data"))
		}
		link("v1")
		os.Remove(filepath.Join(w.dir, "a"))
		os.Symlink(filepath.Join("data", "a"), filepath.Join(w.dir, "a"))
		w.after("one")
		link("v2")
		w.after("two", "")
	})
}

// A file that the first load could do without is noticed when it comes.
func TestFileAppears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "late")
		v, err := New(func(read ReadFunc) (string, error) {
			content, err := read(path)
			if err != nil {
				return "fallback", nil
			}
			return string(content), nil
		}, nil)
		if err != nil || v.Get() != "fallback" {
			t.Fatal(v.Get(), err)
		}
		os.WriteFile(path, []byte("late"), 0o600)
		time.Sleep(interval)
		if got := v.Get(); got != "late" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFirstLoadFails(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	os.WriteFile(big, bytes.Repeat([]byte("x"), maxFileBytes+1), 0o600)
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "none",
		dir:                        "not a regular file",
		big:                        "larger than 1048576 bytes",
	} {
		_, err := New(func(read ReadFunc) ([]byte, error) { return read(path) }, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 1000 {
				w.v.turn.next.Store(0)
				if w.v.Get() != "one" {
					t.Error("a value that never was")
				}
			}
		})
	}
	group.Wait()
}

// Whoever cannot wait for the second to pass need not.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("a", "two")
		if got := w.v.Get(); got != "one" {
			t.Errorf("Get: %q at once", got)
		}
		if got := w.v.Reload(); got != "two" {
			t.Errorf("Reload: %q", got)
		}
		w.write("a", "three")
		if got := w.v.Reload(); got != "two" {
			t.Errorf("Reload: %q of files that do not fit", got)
		}
		w.after("two", "", "a and b do not fit")
	})
}
