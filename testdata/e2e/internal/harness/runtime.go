package harness

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/cri-client/pkg/fake"
)

// startContainerRuntime serves the container runtime interface without any containers, for the length of the test,
// and returns its endpoint. The folder's name is short: a socket's path has room for about a hundred bytes.
func startContainerRuntime(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kubeletauth-cri-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	endpoint := "unix://" + filepath.Join(dir, "s")
	runtime := fake.NewFakeRemoteRuntime()
	if err := runtime.Start(endpoint); err != nil {
		t.Fatalf("starting the container runtime: %v", err)
	}
	t.Cleanup(runtime.Stop)
	return endpoint
}
