//go:build unix

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A SIGHUP of whoever rotates logs does not cut the requests that are under way
// while the server stops.
func TestRotationDuringDrain(t *testing.T) {
	port := freePort(t)
	server, stderr := process(t, "", build(t), "--healthz-port=0", "--port="+strconv.Itoa(port), "--decision-log="+filepath.Join(t.TempDir(), "decisions"))
	waitFor(t, stderr, "msg=Serving")
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	time.Sleep(100 * time.Millisecond)
	server.Process.Signal(syscall.SIGTERM)
	time.Sleep(300 * time.Millisecond)
	server.Process.Signal(syscall.SIGHUP)
	time.Sleep(300 * time.Millisecond)
	io.WriteString(conn, strings.Repeat("x", 100000))
	conn.Close()
	if err := server.Wait(); err != nil {
		t.Errorf("after SIGTERM and SIGHUP: %v", err)
	}
}
