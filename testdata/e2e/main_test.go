package e2e

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"kubeletauth/testdata/e2e/internal/harness"
)

// shared is the cluster of all tests in this package. It starts when the first test asks for it.
var shared struct {
	sync.Once
	dir     string
	cluster *harness.Cluster
}

// TestMain runs the tests and ends the cluster. Its folder is kept if KUBELETAUTH_E2E_DIR names it.
func TestMain(m *testing.M) {
	status := m.Run()
	if shared.cluster != nil {
		shared.cluster.Close()
		if status != 0 {
			fmt.Fprint(os.Stderr, shared.cluster.LogTail(30))
		}
	}
	if os.Getenv("KUBELETAUTH_E2E_DIR") == "" && shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(status)
}

// theCluster returns the cluster that all tests share: use names of your own for what you make in it.
func theCluster(t testing.TB) *harness.Cluster {
	t.Helper()
	shared.Do(func() { startCluster(t) })
	if shared.cluster == nil {
		t.Fatal("there is no cluster: the first test that wanted it says why")
	}
	return shared.cluster
}

// startCluster builds the programs and starts the cluster. It outlives the test that asked for it first.
func startCluster(t testing.TB) {
	t.Helper()
	programs, err := harness.BuildPrograms(context.Background(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if shared.dir = os.Getenv("KUBELETAUTH_E2E_DIR"); shared.dir == "" {
		if shared.dir, err = os.MkdirTemp("", "kubeletauth-e2e-"); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if shared.cluster, err = harness.StartCluster(context.Background(), programs, shared.dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("started the cluster in %s", time.Since(began).Round(time.Millisecond))
}
