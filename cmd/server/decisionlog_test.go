//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// After SIGHUP the file that was renamed gets no more lines; the answers' ids
// are in it.
func TestDecisionLogIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions")
	port := freePort(t)
	server, stderr := process(t, "", build(t), "--anonymous-auth=false", "--healthz-port=0", "--port="+strconv.Itoa(port), "--decision-log="+path)
	waitFor(t, stderr, "msg=Serving")
	url := fmt.Sprintf("https://127.0.0.1:%d/metrics?q=secret", port)
	logged := func() string {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if content, err := os.ReadFile(path); err == nil && len(content) > 0 {
				return string(content)
			}
		}
		t.Fatal("nothing was logged")
		return ""
	}
	get(url)
	if line := logged(); strings.Count(line, "\n") != 1 || !strings.Contains(line, `"path":"/metrics"`) || !strings.Contains(line, `"status":401`) || strings.Contains(line, "secret") {
		t.Errorf("logged %s", line)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	server.Process.Signal(syscall.SIGHUP)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		}
	}
	get(url)
	if line := logged(); strings.Count(line, "\n") != 1 {
		t.Errorf("logged %s", line)
	}
	if old, err := os.ReadFile(path + ".1"); err != nil || strings.Count(string(old), "\n") != 1 {
		t.Errorf("the old file has %s, %v", old, err)
	}
}
