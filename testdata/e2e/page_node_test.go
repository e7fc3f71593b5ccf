package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

// pageAPIServerAsCaller shows our server where a node's kubelet is: behind the API server, which verifies our serving
// certificate and shows the one of --kubelet-client-certificate.
func pageAPIServerAsCaller(t *testing.T, c *harness.Cluster) {
	address := harness.RequireNodeAddress(t)
	t.Run("with the role that Kubernetes brings", func(t *testing.T) {
		s := startPageNode(t, c, ours.Options{Address: address})
		if stdout, stderr, err := s.kubectlGet(t, "healthz"); stdout != "ok" {
			t.Errorf("healthz: %v, %q, %q", err, stdout, stderr)
		}
		s.kubectlForbidden(t, "spec/", "spec") // system:kubelet-api-admin does not have it
	})
	defer pageWithdrawKubeletAccess(t, c)()
	t.Run("without a role", func(t *testing.T) {
		s := startPageNode(t, c, ours.Options{Address: address})
		for path, subresource := range map[string]string{
			"healthz": "proxy", "configz": "proxy", "metrics": "metrics", "stats/summary": "stats", "logs/": "log", "spec/": "spec",
		} {
			s.kubectlForbidden(t, path, subresource)
		}
	})
	t.Run("with the role of the page", func(t *testing.T) {
		c.Grant(t, harness.User(harness.KubeletClientUser), harness.Nodes("*", "proxy", "stats", "log", "spec", "metrics"))
		pageNodeAnswers(t, startPageNode(t, c, ours.Options{Address: address}))
	})
	t.Run("with a serving certificate of another authority", func(t *testing.T) {
		ca, err := harness.NewCA("stranger")
		if err != nil {
			t.Fatal(err)
		}
		s := startPageNode(t, c, ours.Options{Address: address, Serving: pageIssue(t, ca, harness.ServerTemplate(address))})
		if stdout, stderr, err := s.kubectlGet(t, "healthz"); err == nil || !strings.Contains(stderr, "x509: certificate signed by unknown authority") {
			t.Errorf("kubectl got %q %q", stdout, stderr)
		}
	})
}

// startPageNode starts our server as the kubelet of a node that exists.
func startPageNode(t *testing.T, c *harness.Cluster, options ours.Options) *pageServer {
	t.Helper()
	s := startPageServerAt(t, c, options, pageGuarded(c)...)
	c.CreateNode(t, s.node, s.Address, s.Port)
	return s
}

// pageNodeAnswers wants all that our server has to show, and that the page's other paths get as far as its handler.
func pageNodeAnswers(t *testing.T, s *pageServer) {
	mark := s.cluster.AuditMark(t)
	if stdout, stderr, err := s.kubectlGet(t, "healthz"); stdout != "ok" {
		t.Errorf("healthz: %v, %q, %q", err, stdout, stderr)
	}
	asked := s.accessReviews(t, mark)
	if len(asked) != 1 || asked[0].User != harness.KubeletClientUser || asked[0].ResourceAttributes.Name != s.node {
		t.Errorf("our server asked the API server %+v", asked)
	}
	if stdout, stderr, err := s.kubectlGet(t, "metrics"); !strings.Contains(stdout, "\nkubelet_http_requests_total{") {
		t.Errorf("metrics: %v, %q, %q", err, stdout, stderr)
	}
	stdout, stderr, err := s.kubectlGet(t, "configz")
	var configz struct{ KubeletConfig map[string]any }
	if json.Unmarshal([]byte(stdout), &configz) != nil || configz.KubeletConfig["authorization"] == nil {
		t.Errorf("configz: %v, %q, %q", err, stdout, stderr)
	}
	for _, path := range []string{"stats/summary", "logs/", "spec/"} {
		if _, stderr, _ := s.kubectlGet(t, path); strings.Contains(stderr, "orbidden") {
			t.Errorf("%s: %s", path, stderr)
		}
	}
}

// kubectlGet asks the API server, as the administrator, for a path of the node.
func (s *pageServer) kubectlGet(t *testing.T, path string) (stdout, stderr string, err error) {
	t.Helper()
	return s.cluster.Kubectl(t, s.cluster.AdminKubeconfig, "get", "--raw", "/api/v1/nodes/"+s.node+"/proxy/"+path)
}

// kubectlForbidden wants that kubectl shows why our server let the API server not have a path.
func (s *pageServer) kubectlForbidden(t *testing.T, path, subresource string) {
	t.Helper()
	_, stderr, err := s.kubectlGet(t, path)
	text := strings.TrimSpace(pageForbidden(harness.KubeletClientUser, "get", subresource))
	if err == nil || !strings.Contains(stderr, text) {
		t.Errorf("kubectl get %s: %v, %q, want %q", path, err, stderr, text)
	}
}

// pageWithdrawKubeletAccess takes away what the cluster lets the API server do on nodes, until restore is called.
// No other test runs meanwhile: this one is not parallel.
func pageWithdrawKubeletAccess(t *testing.T, c *harness.Cluster) (restore func()) {
	t.Helper()
	bindings := c.Admin.RbacV1().ClusterRoleBindings()
	const name = "apiserver-kubelet-client"
	binding, err := bindings.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := bindings.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	user, access := harness.User(harness.KubeletClientUser), harness.Nodes("*", "proxy", "stats", "log", "metrics")
	c.AwaitAccess(t, user, access, false)
	return func() {
		binding.ObjectMeta = metav1.ObjectMeta{Name: name}
		if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.AwaitAccess(t, user, access, true)
	}
}
