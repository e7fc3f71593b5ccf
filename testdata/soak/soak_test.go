package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// One minute of it, with the race detector.
func TestSoak(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "soak")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(binary, "-duration=1m").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
