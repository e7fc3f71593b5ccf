package decisionlog_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/decisionlog"
)

func lines(t *testing.T, path string) (ids []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var e kubeletapi.Event
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

// Whatever is in an event is one line, and comes back as it was.
func TestOneLineEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := decisionlog.Open(decisionlog.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{"plain", "new\nline", "nul\x00", "quote\"\\", "\u2028", "tab\t\r"}
	for _, id := range ids {
		if !l.LogEvent(kubeletapi.Event{ID: id, Path: id, Groups: []string{id}}) {
			t.Error("not taken")
		}
	}
	l.Close()
	l.Close()
	if got := lines(t, path); fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Errorf("%q", got)
	}
	if l.LogEvent(kubeletapi.Event{}) || !errors.Is(l.Reopen(), os.ErrClosed) {
		t.Error("a closed log takes events")
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A file that was renamed gets no more lines, and none is lost.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := decisionlog.Open(decisionlog.Config{Path: path, Blocking: true})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 1000 {
				l.LogEvent(kubeletapi.Event{ID: "x"})
			}
		})
	}
	for i := range 5 {
		os.Rename(path, fmt.Sprint(path, i))
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	writers.Wait()
	l.Close()
	n := len(lines(t, path))
	for i := range 5 {
		n += len(lines(t, fmt.Sprint(path, i)))
	}
	if n != 4000 {
		t.Errorf("%d lines", n)
	}
}

// Where a file cannot be opened again, the old one stays in use.
func TestReopenFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	l, err := decisionlog.Open(decisionlog.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	os.Rename(path, path+".1")
	os.Mkdir(path, 0o700)
	if err := l.Reopen(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a folder was opened: %v", err)
	}
	l.LogEvent(kubeletapi.Event{ID: "x"})
	l.Close()
	if got := lines(t, path+".1"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if _, err := decisionlog.Open(decisionlog.Config{Path: path}); err == nil {
		t.Error("a folder was opened")
	}
}

// What is not written is said, and requests go on.
func TestFullDevice(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	var log bytes.Buffer
	l, err := decisionlog.Open(decisionlog.Config{Path: "/dev/full", Queue: 2, Blocking: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		l.LogEvent(kubeletapi.Event{Path: strings.Repeat("x", 10<<10)})
	}
	l.Close()
	if got := strings.Count(log.String(), "Lines are missing in the decision log"); got != 1 {
		t.Errorf("told %d times: %s", got, &log)
	}
}

// A queue that is full drops lines, or makes requests wait. A pipe that nobody
// reads is a file that is slow.
func TestSlowFile(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	path := fmt.Sprint("/dev/fd/", write.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	l, err := decisionlog.Open(decisionlog.Config{Path: path, Queue: 4})
	if err != nil {
		t.Fatal(err)
	}
	taken, dropped := 0, 0
	for dropped < 100 {
		if l.LogEvent(kubeletapi.Event{Path: strings.Repeat("x", 1000)}) {
			taken++
		} else {
			dropped++
		}
	}
	go func() { l.Close(); write.Close() }()
	n := 0
	for scanner := bufio.NewScanner(read); scanner.Scan(); n++ {
	}
	if n != taken {
		t.Errorf("%d lines, though %d were taken", n, taken)
	}
}
