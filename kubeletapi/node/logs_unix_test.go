//go:build unix

package node_test

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kubeletauth/kubeletapi/node"
)

// soon fails a test whose handler waits for something, such as a FIFO's writer.
func soon(t *testing.T, h http.Handler, target string) *httptest.ResponseRecorder {
	t.Helper()
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- serve(h, "GET", target) }()
	select {
	case w := <-answer:
		return w
	case <-time.After(30 * time.Second):
		t.Fatalf("GET %s hangs", target)
		return nil
	}
}

func TestLogsThatAreNoFiles(t *testing.T) {
	dir, err := os.MkdirTemp("", "") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for name, target := range map[string]string{"to-fifo": "fifo", "to-socket": "socket", "to-device": "/dev/zero", "to-tty": "/dev/tty"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mknod(filepath.Join(dir, "device"), syscall.S_IFCHR|0o600, 1<<8|5); err != nil { // like /dev/zero
		t.Logf("without a device: %v", err)
	}
	var log bytes.Buffer
	handler := node.API{LogDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}.Handler()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		for _, slash := range []string{"", "/"} {
			log.Reset()
			target := "/logs/" + entry.Name() + slash
			if w := soon(t, handler, target); w.Code != 404 || w.Body.String() != "404 page not found\n" {
				t.Errorf("GET %s: %d %q", target, w.Code, w.Body)
			}
			if !strings.Contains(log.String(), "path="+target) {
				t.Errorf("GET %s: logged %q", target, &log)
			}
		}
	}
	if w := soon(t, handler, "/logs/"); w.Code != 200 || strings.Count(w.Body.String(), "<a ") != len(entries) {
		t.Errorf("GET /logs/: %d %q", w.Code, w.Body)
	}
}

// TestLogThatTurnsInto swaps a file, a FIFO and a symlink that leads out under
// the server's feet.
func TestLogThatTurnsInto(t *testing.T) {
	dir := tree(t)
	log, next := filepath.Join(dir, "a.log"), filepath.Join(dir, "next")
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			syscall.Mkfifo(next, 0o600)
			os.Rename(next, log)
			os.WriteFile(next, []byte("line"), 0o600)
			os.Rename(next, log)
			os.Symlink("../secret", next)
			os.Rename(next, log)
			os.WriteFile(next, []byte("line"), 0o600)
			os.Rename(next, log)
		}
	})
	defer swapping.Wait()
	defer close(stop)
	handler := logs(dir)
	for range 10_000 {
		switch w := soon(t, handler, "/logs/a.log"); w.Body.String() {
		case "line", "log a.log", "404 page not found\n":
		default:
			t.Fatalf("%d %q", w.Code, w.Body)
		}
	}
}

// TestLogsWithoutPermission needs a user to whom modes mean something.
func TestLogsWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), "line")
	mkdir(t, filepath.Join(dir, "sub"))
	for _, name := range []string{"a.log", "sub"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	handler := node.API{LogDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}.Handler()
	for _, target := range []string{"/logs/a.log", "/logs/sub/", "/logs/sub/x"} {
		log.Reset()
		if w := serve(handler, "GET", target); w.Code != 404 || !strings.Contains(log.String(), "permission denied") {
			t.Errorf("GET %s: %d, logged %q", target, w.Code, &log)
		}
	}
}
