package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	for _, arg := range []string{"-h", "--help"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{arg}, &stdout, &stderr); code != 0 || stderr.Len() != 0 {
			t.Errorf("%s: exit code %d, %s", arg, code, stderr.String())
		}
		for _, part := range []string{"Usage: server", "\nAuthentication:\n", "--anonymous-auth true|false (default true; with --config false)", "field authentication.anonymous.enabled", "\nExample"} {
			if !strings.Contains(stdout.String(), part) {
				t.Errorf("%s lacks %q", arg, part)
			}
		}
	}
}

// A real node's configuration loads, and what has no meaning here is said once.
func TestNodeConfiguration(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	os.WriteFile(config, []byte(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false, cacheTTL: 0s}
authorization: {mode: AlwaysAllow}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
featureGates: {KubeletFineGrainedAuthz: true, NodeSwap: false}
`), 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	code := run(ctx, []string{"--config", config, "--port", strconv.Itoa(freePort(t))}, &bytes.Buffer{}, &stderr)
	if code != 0 || strings.Count(stderr.String(), "cgroupDriver clusterDNS featureGates.NodeSwap") != 1 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if runtime.MemProfileRate != 0 {
		t.Error("a profile is taken that nobody can see")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
