package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"k8s.io/component-helpers/node/util/sysctl"
)

// kubeletFolder is what a kubelet uses whatever it is told: for device plugins the path is a constant.
const kubeletFolder = "/var/lib/kubelet"

// kernelSettings are what a kubelet wants of the kernel and otherwise sets itself, on the whole machine.
func kernelSettings() map[string]int {
	return map[string]int{
		sysctl.VMOvercommitMemory: sysctl.VMOvercommitMemoryAlways,
		sysctl.VMPanicOnOOM:       sysctl.VMPanicOnOOMInvokeOOMKiller,
		sysctl.KernelPanic:        sysctl.KernelPanicRebootTimeout,
		sysctl.KernelPanicOnOops:  sysctl.KernelPanicOnOopsAlways,
		sysctl.RootMaxKeys:        sysctl.RootMaxKeysSetting,
		sysctl.RootMaxBytes:       sysctl.RootMaxBytesSetting,
	}
}

// enterScript gives the new mount namespace temporary file systems of its own where a kubelet writes, and
// lets it find its kernel settings in files of the folder $1. Then it becomes the program.
const enterScript = `set -e
settings=$1; shift
mount -t tmpfs -o mode=0755 kubelet ` + kubeletFolder + `
mount -t tmpfs -o mode=0755 logs /var/log
cd "$settings"
find . -type f | while read -r file; do mount --bind "$file" "/proc/sys/$file"; done
cd /
exec "$@"`

// inOwnMounts returns the command to run a kubelet such that it changes nothing on this machine: neither files
// nor kernel settings. One empty folder is left behind, as it is the place to mount at.
func inOwnMounts(dir, program string, args ...string) (*exec.Cmd, error) {
	settings := filepath.Join(dir, "settings")
	for name, value := range kernelSettings() {
		file := filepath.Join(settings, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(value)), 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(kubeletFolder, 0o755); err != nil {
		return nil, fmt.Errorf("making the place for a kubelet's folder: %w", err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", enterScript, "sh", settings, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd, nil
}

// canOwnMounts says why no mount namespace can be made on this machine, or nil.
func canOwnMounts() error {
	cmd := exec.Command("mount", "-t", "tmpfs", "probe", "/var/log")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mounting in a namespace of its own: %w %s", err, out)
	}
	return nil
}
