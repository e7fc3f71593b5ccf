package harness

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Kubectl runs kubectl with a kubeconfig file and returns what it wrote to its standard output and error.
// The error is that of exec.Cmd: nil when it ended with status 0.
func (c *Cluster) Kubectl(t testing.TB, kubeconfig string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, c.Programs.Kubectl, append([]string{"--kubeconfig=" + kubeconfig}, args...)...)
	endWithThread(cmd, syscall.SIGKILL)
	cmd.Env = Environment(t.TempDir())
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// AdminKubectl runs kubectl as the administrator and returns its standard output. It ends the test unless that works.
func (c *Cluster) AdminKubectl(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, err := c.Kubectl(t, c.AdminKubeconfig, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout
}
