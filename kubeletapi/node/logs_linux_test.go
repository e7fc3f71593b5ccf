package node_test

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"
)

// TestLogThatIsNoFileIsNotOpened asks the system whether a FIFO was opened.
func TestLogThatIsNoFileIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	fifo, log := filepath.Join(dir, "fifo"), filepath.Join(dir, "a.log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, log, "line")
	for path, want := range map[string]bool{fifo: false, log: true} {
		watch, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.InotifyAddWatch(watch, path, syscall.IN_OPEN); err != nil {
			t.Fatal(err)
		}
		soon(t, logs(dir), "/logs/"+filepath.Base(path))
		n, err := syscall.Read(watch, make([]byte, os.Getpagesize()))
		if opened := n > 0; opened != want {
			t.Errorf("%s was opened: %v (%v)", path, opened, err)
		}
		syscall.Close(watch)
	}
}

// TestLogsAreClosed counts what is open.
func TestLogsAreClosed(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes files too
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	handler := logs(tree(t))
	before := open()
	const times = 100
	for _, target := range []string{"/logs/a.log", "/logs/sub/", "/logs/sub", "/logs/out", "/logs/nothing", "/logs/a.log/"} {
		for range times {
			serve(handler, "GET", target)
		}
		if n := open() - before; n > times/2 {
			t.Errorf("after %d times GET %s, %d more files are open", times, target, n)
		}
	}
}
