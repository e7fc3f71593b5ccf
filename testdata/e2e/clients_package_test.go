package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// promPrograms returns the paths of prometheus and promtool: those of this machine, or those of Debian's package, which
// is unpacked into the user's cache folder and not installed, so that nothing starts. Otherwise the test is skipped.
func promPrograms(t *testing.T) (prometheus, promtool string) {
	t.Helper()
	prometheus, err := exec.LookPath("prometheus")
	if promtool, toolErr := exec.LookPath("promtool"); err == nil && toolErr == nil {
		return prometheus, promtool
	}
	dir, err := unpackedPackage(t.Context(), "prometheus", "usr/bin/promtool")
	if err != nil {
		t.Skipf("there is no Prometheus on this machine, and its package cannot be had: %v", err)
	}
	return filepath.Join(dir, "usr/bin/prometheus"), filepath.Join(dir, "usr/bin/promtool")
}

// unpackedPackage returns the folder in the user's cache that holds the files of a Debian package, such as file.
func unpackedPackage(ctx context.Context, name, file string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "kubeletauth-e2e")
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, name+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := downloadPackage(ctx, work, name); err != nil {
		return "", err
	}
	if err := packageCommand(ctx, work, "sh", "-c", `dpkg-deb -x "$0"_*.deb files`, name); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(work, "files"), dir); err != nil && !os.IsExist(err) {
		return "", err
	}
	return dir, nil
}

// downloadPackage downloads a package of the system's own archive, whose signature apt verifies. A machine that has
// never looked into the archive does so first.
func downloadPackage(ctx context.Context, dir, name string) error {
	if packageCommand(ctx, dir, "apt-get", "download", name) == nil {
		return nil
	}
	if err := packageCommand(ctx, dir, "apt-get", "update"); err != nil {
		return err
	}
	return packageCommand(ctx, dir, "apt-get", "download", name)
}

// packageCommand runs a command in a folder.
func packageCommand(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
