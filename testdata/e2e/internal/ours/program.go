package ours

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
)

// program is cmd/server, built once in a test process.
var program struct {
	sync.Once
	path string
	err  error
}

// Program builds cmd/server into the cluster's folder, unless that was done, and returns its path.
func Program(t testing.TB, c *harness.Cluster) string {
	t.Helper()
	program.Do(func() {
		program.path = filepath.Join(c.Dir, "server")
		program.err = harness.Build(context.Background(), program.path, "kubeletauth/cmd/server")
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}
