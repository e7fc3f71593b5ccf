package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProcessEndsWithTheTestProcess starts this test again as a process of its own, which starts a program and is then
// killed: the program must be gone too.
func TestProcessEndsWithTheTestProcess(t *testing.T) {
	const inner = "KUBELETAUTH_E2E_INNER"
	if dir := os.Getenv(inner); dir != "" {
		p := RunFor(t, "sleep", exec.Command("sleep", "60"))
		pid := filepath.Join(dir, "pid")
		if err := os.WriteFile(pid+".new", []byte(strconv.Itoa(p.Pid())), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(pid+".new", pid); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		t.Fatal("the program ended before its parent")
	}

	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(Environment(dir), inner+"="+dir)
	outer, err := StartProcess(cmd, filepath.Join(dir, "inner.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Kill()
	var pid int
	await(t, func(context.Context) error {
		content, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil {
			pid, err = strconv.Atoi(string(content))
		}
		return err
	})
	if !runs(pid) {
		t.Fatal("the program does not run")
	}
	if err := outer.Signal(syscall.SIGKILL); err != nil { // the outer process alone, not its group
		t.Fatal(err)
	}
	await(t, func(context.Context) error {
		if runs(pid) {
			return fmt.Errorf("process %d runs", pid)
		}
		return nil
	})
}

func TestKillEndsChildrenToo(t *testing.T) {
	p := RunFor(t, "sh", exec.Command("/bin/sh", "-c", "sleep 60 & echo $!; wait"))
	var child int
	await(t, func(context.Context) (err error) {
		child, err = strconv.Atoi(p.LogTail(1))
		return err
	})
	p.Kill()
	await(t, func(context.Context) error {
		if runs(child) {
			return fmt.Errorf("process %d runs", child)
		}
		return nil
	})
	p.Kill() // twice does no harm
}

func TestAwaitShowsTheLogOfAProgramThatEnded(t *testing.T) {
	p, err := StartProcess(exec.Command("/bin/sh", "-c", "echo out of order; exit 3"), filepath.Join(t.TempDir(), "sh.log"))
	if err != nil {
		t.Fatal(err)
	}
	err = p.Await(t.Context(), func(context.Context) error { return os.ErrNotExist })
	if err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("the error is %v", err)
	}
	if p.Err() == nil {
		t.Error("status 3 is no error")
	}
}

func TestStartProcessOfNothing(t *testing.T) {
	if _, err := StartProcess(exec.Command("/nonexistent"), filepath.Join(t.TempDir(), "log")); err == nil {
		t.Error("it started")
	}
}

// await polls for ten seconds.
func await(t *testing.T, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := poll(ctx, nil, check); err != nil {
		t.Fatal(err)
	}
}

// runs tells whether a process runs. One that has ended, but was not waited for by its new parent, does not.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := strings.TrimSpace(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return !strings.HasPrefix(state, "Z")
}
