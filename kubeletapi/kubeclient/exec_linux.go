package kubeclient

import (
	"os/exec"
	"syscall"
)

// killGroup makes the end of cmd's context end its children too, and the end of
// this process, whatever ends it, cmd itself. So does the end of the thread that
// starts cmd, which must therefore be locked.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
