//go:build unix

package kubeclient

import (
	"os/exec"
	"syscall"
)

// killGroup makes the end of cmd's context end its children too.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
