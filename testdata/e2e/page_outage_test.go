package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"kubeletauth/testdata/e2e/internal/harness"
)

// pageOutage shows a server that starts while the API server cannot be reached, works when it can, goes on with what it
// remembers when it cannot again, and recovers.
func pageOutage(t *testing.T, c *harness.Cluster) {
	way := newPageForwarder(t, c.URL)
	s := startPageServer(t, c, append(pageGuarded(c), "--kubeconfig="+pageKubeconfigFor(t, c, way.address))...)
	jane := pageCaller{certificate: c.ClientCertificate(t, "page-outage")}
	sa := c.CreateServiceAccount(t, "page-outage")
	token := pageCaller{token: c.RequestToken(t, sa, 0)}

	expect(t, s.get(t, jane, "/metrics"), http.StatusInternalServerError,
		"Authorization error (user=page-outage, verb=get, resource=nodes, subresource=metrics)")
	s.unauthorized(t, token)
	if log := s.LogTail(50); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "connection refused") {
		t.Errorf("the log does not say why: %s", log)
	}

	way.open(t)
	pageWithin(t, 5*time.Second, "the server works once the API server can be reached", func() bool {
		return s.get(t, jane, "/metrics").Status == http.StatusForbidden
	})
	s.forbidden(t, token, sa.Username(), "get", "metrics")

	way.close()
	s.forbidden(t, jane, "page-outage", "get", "metrics")
	s.forbidden(t, token, sa.Username(), "get", "metrics")
	if answer := s.get(t, jane, "/stats/summary"); answer.Status != http.StatusInternalServerError {
		t.Errorf("what it cannot know: %d %s", answer.Status, answer.Body)
	}

	way.open(t)
	pageWithin(t, 5*time.Second, "the server works again", func() bool {
		return s.get(t, jane, "/stats/summary").Status == http.StatusForbidden
	})
}

// pageKubeconfigFor is a node's kubeconfig that leads to the API server by another address.
func pageKubeconfigFor(t *testing.T, c *harness.Cluster, address string) string {
	t.Helper()
	file := c.NodeKubeconfig(t, "page-outage")
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + address
	}
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}
