package e2e

import (
	"errors"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

// TestPrometheus shows a Prometheus that scrapes our server as it scrapes kubelets: at the node's address, with the token
// of a service account and the cluster's authority.
func TestPrometheus(t *testing.T) {
	program, promtool := promPrograms(t)
	c := theCluster(t)
	s := startPageServerAt(t, c, ours.Options{Address: harness.RequireNodeAddress(t)}, pageGuarded(c)...)
	in, out := c.CreateServiceAccount(t, "prometheus"), c.CreateServiceAccount(t, "no-prometheus")
	c.Grant(t, in.Subject(), harness.Nodes("get", "metrics"))
	token := c.RequestToken(t, in, 0)
	stranger, err := harness.NewCA("stranger")
	if err != nil {
		t.Fatal(err)
	}
	prometheus := startPrometheus(t, c, program, net.JoinHostPort(s.Address, strconv.Itoa(s.Port)),
		promJob{"good", "/metrics", token, c.CA.CertPEM},
		promJob{"wrong-token", "/metrics", "rubbish", c.CA.CertPEM},
		promJob{"no-role", "/metrics", c.RequestToken(t, out, 0), c.CA.CertPEM},
		promJob{"wrong-path", "/healthz", token, c.CA.CertPEM},
		promJob{"wrong-authority", "/metrics", token, stranger.CertPEM})
	up := prometheus.awaitScrapes(t)
	t.Run("what may be scraped is up", func(t *testing.T) {
		if up["good"] != "1" {
			t.Fatalf("up is %s: %s", up["good"], prometheus.errors(t)["good"])
		}
		counted := prometheus.query(t, `kubelet_http_requests_total{method="GET",path="metrics"}`, "job")
		if n, err := strconv.Atoi(counted["good"]); err != nil || n < 1 {
			t.Errorf("Prometheus has counted requests %v", counted)
		}
	})
	t.Run("what may not is down", func(t *testing.T) {
		said := prometheus.errors(t)
		for job, text := range map[string]string{
			"wrong-token": "401 Unauthorized", "no-role": "403 Forbidden", "wrong-path": "403 Forbidden", "wrong-authority": "x509",
		} {
			if up[job] != "0" || !strings.Contains(said[job], text) {
				t.Errorf("%s: up is %s, want 0, and the error is %q, want one with %q", job, up[job], said[job], text)
			}
		}
	})
	t.Run("the format is clean", func(t *testing.T) { lintMetrics(t, promtool, s.get(t, pageCaller{token: token}, "/metrics")) })
	t.Run("resource metrics", func(t *testing.T) {
		resources := startPrometheus(t, c, program, net.JoinHostPort(s.Address, strconv.Itoa(s.Port)),
			promJob{"resource", "/metrics/resource", token, c.CA.CertPEM})
		if up := resources.awaitScrapes(t); up["resource"] != "1" {
			t.Errorf("up is %s: %s", up["resource"], resources.errors(t)["resource"])
		}
	})
}

// lintMetrics holds an answer against promtool's rules. One name breaks them, and has to: it is Kubernetes' own.
func lintMetrics(t *testing.T, promtool string, answer harness.Answer) {
	t.Helper()
	if answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	const kubernetes = `authentication_token_cache_active_fetch_count non-histogram and non-summary metrics should not have "_count" suffix`
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(answer.Body)
	said, err := cmd.CombinedOutput()
	if text := strings.TrimSpace(string(said)); text != "" && text != kubernetes {
		t.Errorf("promtool says: %s", text)
	}
	const breaksRules = 3
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == breaksRules) {
		t.Errorf("promtool: %v", err)
	}
}
