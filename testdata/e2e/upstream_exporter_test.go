package e2e

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kubeletauth/testdata/e2e/internal/harness"
)

// exporter is a service with metrics and without any authentication, as most are.
func exporter() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "upstream_answer", Help: "What is known."}, func() float64 { return 42 }))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "an exporter's own page", http.StatusTeapot)
	})
	return mux
}

// TestUpstreamExporter shows an exporter with the RBAC that metrics sidecars are set up with: a role for the path.
func TestUpstreamExporter(t *testing.T) {
	c := theCluster(t)
	s := startUpstream(t, c, upstreamService(t, exporter()), upstreamURLs("get", "/metrics"),
		"--upstream-paths=/metrics", "--request-attributes=nonresource")
	mark := c.AuditMark(t)
	caller := pageCaller{token: s.token}
	t.Run("the role is for the path", func(t *testing.T) {
		if answer := s.get(t, caller, "/metrics"); answer.Status != http.StatusOK || !strings.Contains(answer.Body, "\nupstream_answer 42\n") {
			t.Errorf("%d %.200q", answer.Status, answer.Body)
		}
		if answer := s.ask(t, caller, "HEAD", "/metrics"); answer.Status != http.StatusOK {
			t.Errorf("HEAD: %d", answer.Status)
		}
	})
	t.Run("and that is what the API server was asked about", func(t *testing.T) {
		asked := s.accessReviews(t, mark)
		if len(asked) != 1 || asked[0].ResourceAttributes != nil || asked[0].NonResourceAttributes == nil ||
			asked[0].NonResourceAttributes.Path != "/metrics" || asked[0].NonResourceAttributes.Verb != "get" || asked[0].User != s.account.Username() {
			t.Errorf("the API server was asked about %+v", asked)
		}
	})
	t.Run("and not for more", func(t *testing.T) {
		for _, path := range []string{"/metrics/", "/metrics/kubeletauth", "/metrics/resource", "/metricsx", "/", "/stats/summary", "/Metrics"} {
			if answer := s.get(t, caller, path); answer.Status != http.StatusForbidden {
				t.Errorf("%s: %d %.100q", path, answer.Status, answer.Body)
			}
		}
		if answer := s.ask(t, caller, "POST", "/metrics"); answer.Status != http.StatusForbidden {
			t.Errorf("POST: %d", answer.Status)
		}
	})
	t.Run("a role for the node is not one for the path", func(t *testing.T) {
		other := c.CreateServiceAccount(t, "upstream-node")
		c.Grant(t, other.Subject(), harness.Nodes("*", "metrics", "proxy"))
		if answer := s.get(t, pageCaller{token: c.RequestToken(t, other, 0)}, "/metrics"); answer.Status != http.StatusForbidden {
			t.Errorf("%d %.100q", answer.Status, answer.Body)
		}
	})
	t.Run("the other paths are the node's", func(t *testing.T) {
		other := c.CreateServiceAccount(t, "upstream-other")
		c.Grant(t, other.Subject(), upstreamURLs("get", "/metricsx", "/metrics/kubeletauth", "/configz"))
		caller := pageCaller{token: c.RequestToken(t, other, 0)}
		for path, text := range map[string]string{"/metrics/kubeletauth": "kubelet_http_requests_total", "/configz": "kubeletconfig"} {
			if answer := s.get(t, caller, path); answer.Status != http.StatusOK || !strings.Contains(answer.Body, text) || strings.Contains(answer.Body, "upstream_answer") {
				t.Errorf("%s: %d %.100q", path, answer.Status, answer.Body)
			}
		}
		if answer := s.get(t, caller, "/metricsx"); answer.Status != http.StatusNotFound {
			t.Errorf("/metricsx: %d %.100q", answer.Status, answer.Body)
		}
	})
	t.Run("nobody gets in without a token", func(t *testing.T) {
		s.unauthorized(t, pageCaller{})
		s.unauthorized(t, pageCaller{token: "rubbish"})
	})
	t.Run("Prometheus", func(t *testing.T) { exporterScraped(t, c, s) })
}

// exporterScraped shows a Prometheus that scrapes the exporter, and its format as promtool sees it.
func exporterScraped(t *testing.T, c *harness.Cluster, s *upstreamServer) {
	program, promtool := promPrograms(t)
	lintMetrics(t, promtool, s.get(t, pageCaller{token: s.token}, "/metrics"))
	server := startPrometheus(t, c, program, net.JoinHostPort(s.Address, strconv.Itoa(s.Port)),
		promJob{"exporter", "/metrics", s.token, c.CA.CertPEM}, promJob{"wrong-token", "/metrics", "rubbish", c.CA.CertPEM})
	up := server.awaitScrapes(t)
	if up["exporter"] != "1" || up["wrong-token"] != "0" {
		t.Errorf("up is %v: %v", up, server.errors(t))
	}
	if got := server.query(t, "upstream_answer", "job"); got["exporter"] != "42" || len(got) != 1 {
		t.Errorf("Prometheus has %v", got)
	}
}
