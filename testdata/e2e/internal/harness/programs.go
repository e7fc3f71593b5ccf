package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Programs are the paths of the programs that a cluster is made of.
type Programs struct {
	Etcd, APIServer, Kubelet, Kubectl string
}

// BuildPrograms builds the pinned programs into the user's cache folder and says through logf how long each took.
// What is up to date is left alone. The first build on a machine takes minutes, the next ones seconds.
func BuildPrograms(ctx context.Context, logf func(format string, args ...any)) (*Programs, error) {
	version, err := goCommand(ctx, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	dir, unlock, err := lockedCacheFolder(version)
	if err != nil {
		return nil, err
	}
	defer unlock()

	programs := &Programs{}
	for _, each := range []struct {
		path *string
		pkg  string
	}{
		{&programs.Etcd, "go.etcd.io/etcd/server/v3"},
		{&programs.APIServer, "k8s.io/kubernetes/cmd/kube-apiserver"},
		{&programs.Kubelet, "k8s.io/kubernetes/cmd/kubelet"},
		{&programs.Kubectl, "k8s.io/kubernetes/cmd/kubectl"},
	} {
		name := filepath.Base(each.pkg)
		if each.path == &programs.Etcd {
			name = "etcd"
		}
		*each.path = filepath.Join(dir, name)
		began := time.Now()
		if err := Build(ctx, *each.path, each.pkg, "-ldflags", versionFlags(version)); err != nil {
			return nil, err
		}
		logf("built %s in %s", name, time.Since(began).Round(time.Millisecond))
	}
	return programs, nil
}

// Build builds the main package pkg, as the working directory's module resolves it, into the file path.
func Build(ctx context.Context, path, pkg string, flags ...string) error {
	args := append([]string{"build", "-o", path}, flags...)
	_, err := goCommand(ctx, append(args, pkg)...)
	return err
}

// goCommand runs the go command and returns what it printed. It is interrupted, so that it can remove its temporary
// folder, when ctx is done and when this process is gone.
func goCommand(ctx context.Context, args ...string) (string, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "go", args...)
	endWithThread(cmd, syscall.SIGINT)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// lockedCacheFolder returns the folder for the programs of one version. Test runs at the same time take turns.
func lockedCacheFolder(version string) (dir string, unlock func(), err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(cache, "kubeletauth-e2e", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		lock.Close()
		return "", nil, err
	}
	return dir, func() { lock.Close() }, nil
}

// versionFlags are the linker flags that give the programs the version that a release has:
// without them they call themselves v0.0.0-master, and the kubelet's user agent too.
func versionFlags(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X "+pkg+".gitVersion="+version,
			"-X "+pkg+".gitMajor="+parts[0],
			"-X "+pkg+".gitMinor="+parts[1])
	}
	return strings.Join(flags, " ")
}
