package ours

import (
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
)

// Protected are the flags of a server that protects its API as in a cluster: no anonymous requests, client certificates
// of the cluster's authority, tokens and access reviewed by the API server. It asks as the kubelet of the node.
func Protected(t testing.TB, c *harness.Cluster, node string) []string {
	t.Helper()
	return []string{
		"--anonymous-auth=false",
		"--client-ca-file=" + c.CAFile,
		"--authentication-token-webhook=true",
		"--authorization-mode=Webhook",
		"--kubeconfig=" + c.NodeKubeconfig(t, node),
		"--hostname-override=" + node,
	}
}
