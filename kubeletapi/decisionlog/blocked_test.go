//go:build unix

package decisionlog_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/decisionlog"
)

// A FIFO that nobody reads is an error and no wait.
func TestFIFOWithoutReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if _, err := decisionlog.Open(decisionlog.Config{Path: path}); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("got %v", err)
	}
}

// A file that takes nothing any more holds up requests, if they are to wait, but
// not the end.
func TestCloseOfABlockedLog(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	path := fmt.Sprint("/dev/fd/", write.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	l, err := decisionlog.Open(decisionlog.Config{Path: path, Queue: 1, Blocking: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan bool)
	go func() {
		for l.LogEvent(kubeletapi.Event{Path: string(make([]byte, 100<<10))}) {
		}
		refused <- true
	}()
	time.Sleep(100 * time.Millisecond) // likely it waits by now, and otherwise for Close
	closed := make(chan bool)
	go func() { l.Close(); closed <- true }()
	<-refused
	<-closed
	read.Close() // the writer's goroutine ends too
}
