package decisionlog

import (
	"bufio"
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubeletauth/kubeletapi"
)

// flaky is a file that can be full.
type flaky struct {
	bytes.Buffer
	full, closed bool
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.full {
		return 0, errors.New("full")
	}
	return f.Buffer.Write(p)
}

func (f *flaky) Close() error { f.closed = true; return nil }

// A file that can be written again gets lines again, and is told of when it cannot
// the next time; one that was left is closed.
func TestFileRecovers(t *testing.T) {
	var log bytes.Buffer
	f := new(flaky)
	l := &Log{path: filepath.Join(t.TempDir(), "log"), logger: slog.New(slog.NewTextHandler(&log, nil))}
	w := &writer{Log: l, file: f, buffer: bufio.NewWriterSize(f, 64<<10)}
	for _, full := range []bool{true, true, false, true} {
		f.full = full
		w.write(kubeletapi.Event{})
		w.flush()
	}
	if n := strings.Count(f.String(), "\n"); n != 1 {
		t.Errorf("%d lines", n)
	}
	if n := strings.Count(log.String(), "Lines are missing"); n != 2 {
		t.Errorf("told %d times", n)
	}
	if err := w.reopen(); err != nil || !f.closed {
		t.Errorf("%v, closed: %t", err, f.closed)
	}
	w.close()
}

// A line is in the file soon, and not when 64 KiB have come together.
func TestLinesAreWrittenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.LogEvent(kubeletapi.Event{})
	for range 500 {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no line")
}
