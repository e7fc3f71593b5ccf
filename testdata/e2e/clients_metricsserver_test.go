package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

// TestMetricsServer shows that metrics-server, told the least that it can be told, gets a node's CPU and memory from our
// server, and answers for metrics.k8s.io.
func TestMetricsServer(t *testing.T) {
	c := theCluster(t)
	s := startPageNode(t, c, ours.Options{Address: harness.RequireNodeAddress(t)})
	metricsServerKnows(t, c, s.node)
}

// metricsServerKnows wants that a metrics-server gets the CPU and memory of the node, which takes it two scrapes.
func metricsServerKnows(t *testing.T, c *harness.Cluster, node string) {
	server, url := startMetricsServer(t, c)
	client := c.HTTPClient(t, c.ClientCertificate(t, "metrics-reader", "system:masters"))
	var metrics struct {
		Usage map[string]resource.Quantity
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := server.Await(ctx, func(context.Context) error {
		response, err := client.Get(url + "/apis/metrics.k8s.io/v1beta1/nodes/" + node)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return json.NewDecoder(response.Body).Decode(&metrics)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cpu", "memory"} {
		if quantity := metrics.Usage[name]; quantity.Sign() <= 0 {
			t.Errorf("%s is %s", name, quantity.String())
		}
	}
}

// startMetricsServer runs a metrics-server as a service account with the rights that its own manifests give it.
func startMetricsServer(t *testing.T, c *harness.Cluster) (server *harness.Process, url string) {
	t.Helper()
	port, err := harness.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := pageIssue(t, c.CA, harness.ServerTemplate("127.0.0.1")).Write(t.TempDir(), "serving")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := metricsServerKubeconfig(t, c)
	server = harness.RunFor(t, "metrics-server", exec.Command(metricsServerProgram(t),
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(port),
		"--tls-cert-file="+certFile, "--tls-private-key-file="+keyFile,
		"--kubelet-certificate-authority="+c.CAFile,
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-use-node-status-port",
		"--kubelet-request-timeout=5s",
		"--metric-resolution=10s")) // the least that it takes
	return server, "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// metricsServerProgram builds metrics-server into the user's cache folder, as the module in its folder pins it.
func metricsServerProgram(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	program, began := filepath.Join(cache, "kubeletauth-e2e", "metrics-server"), time.Now()
	if err := harness.Build(t.Context(), program, "sigs.k8s.io/metrics-server/cmd/metrics-server", "-modfile=metricsserver/go.mod"); err != nil {
		t.Fatal(err)
	}
	t.Logf("built metrics-server in %s", time.Since(began).Round(time.Millisecond))
	return program
}

// metricsServerKubeconfig makes the service account: nodes/metrics is all that it may do at a node.
func metricsServerKubeconfig(t *testing.T, c *harness.Cluster) string {
	t.Helper()
	sa := c.CreateServiceAccount(t, "metrics-server")
	c.Grant(t, sa.Subject(), harness.Nodes("get", "metrics"), rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"pods", "nodes"}, Verbs: []string{"get", "list", "watch"},
	})
	c.BindClusterRole(t, sa.Subject(), "system:auth-delegator")
	const system, reader = "kube-system", "extension-apiserver-authentication-reader"
	_, err := c.Admin.RbacV1().RoleBindings(system).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: reader},
		Subjects:   []rbacv1.Subject{sa.Subject()},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Kubeconfig(t, "metrics-server", harness.Credentials{Token: c.RequestToken(t, sa, 0)})
}
