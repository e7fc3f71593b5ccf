//go:build unix && !linux

package kubeclient

import (
	"os/exec"
	"syscall"
)

// killGroup makes the end of cmd's context end its children too. If this process
// is killed, cmd goes on.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
