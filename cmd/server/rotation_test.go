//go:build unix

package main

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A SIGHUP of whoever rotates logs does not cut the requests that are under way
// while the server stops.
func TestRotationDuringDrain(t *testing.T) {
	server, conn := draining(t, "--healthz-port=0", "--decision-log="+filepath.Join(t.TempDir(), "decisions"))
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		server.Process.Signal(signal)
		time.Sleep(300 * time.Millisecond)
	}
	conn.Close()
	if err := server.Wait(); err != nil {
		t.Errorf("after SIGTERM and SIGHUP: %v", err)
	}
}
