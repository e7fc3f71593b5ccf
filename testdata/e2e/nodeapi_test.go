package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"kubeletauth/testdata/e2e/internal/harness"
)

// nodeAPI is our server, and a caller who may see what it says of the machine.
type nodeAPI struct {
	*pageServer
	caller pageCaller
}

// startNodeAPI starts our server.
func startNodeAPI(t *testing.T) nodeAPI {
	t.Helper()
	c := theCluster(t)
	c.Grant(t, harness.User("node-api"), harness.Nodes("get", "stats", "metrics", "spec"), harness.Nodes("create", "stats"))
	return nodeAPI{startPageServer(t, c, pageGuarded(c)...), pageCaller{certificate: c.ClientCertificate(t, "node-api")}}
}

// body is that of an answer that went well.
func (s nodeAPI) body(t *testing.T, method, path string) string {
	t.Helper()
	answer := s.ask(t, s.caller, method, path)
	if answer.Status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, answer.Status, answer.Body)
	}
	return answer.Body
}

// summary is the answer to a question for a summary.
func (s nodeAPI) summary(t *testing.T, method, query string) statsapi.Summary {
	t.Helper()
	var summary statsapi.Summary
	nodeAPIDecode(t, s.body(t, method, "/stats/summary"+query), &summary)
	return summary
}

// nodeAPIDecode refuses fields that the type does not have.
func nodeAPIDecode(t *testing.T, body string, value any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

// TestNodeAPISummary reads our summary as the kubelet's clients do.
func TestNodeAPISummary(t *testing.T) {
	s := startNodeAPI(t)
	for _, method := range []string{"GET", "POST"} {
		all := s.summary(t, method, "")
		n := all.Node
		if n.NodeName != s.node || n.StartTime.IsZero() || all.Pods == nil || len(all.Pods) != 0 {
			t.Errorf("%s: %+v", method, all)
		}
		if n.CPU == nil || n.Memory == nil || n.Swap == nil || n.Network == nil || n.Fs == nil || n.Rlimit == nil {
			t.Errorf("%s: %+v", method, n)
		}
		only := s.summary(t, method, "?only_cpu_and_memory=true").Node
		if only.CPU == nil || only.Memory == nil || only.Network != nil || only.Fs != nil || only.Rlimit != nil || only.IO != nil {
			t.Errorf("%s: %+v", method, only)
		}
	}
	if body := s.body(t, "HEAD", "/stats/summary"); body != "" {
		t.Error(body)
	}
	for path, allow := range map[string]string{"/stats/summary": "GET, HEAD, POST", "/spec/": "GET, HEAD"} {
		s.cluster.Grant(t, harness.User("node-api"), harness.Nodes("delete", "stats", "metrics", "spec"))
		if answer := s.ask(t, s.caller, "DELETE", path); answer.Status != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != allow {
			t.Errorf("%s: %d, Allow: %s", path, answer.Status, answer.Header.Get("Allow"))
		}
	}
}

// TestNodeAPIPromtool holds both pages of metrics against promtool's rules.
func TestNodeAPIPromtool(t *testing.T) {
	_, promtool := promPrograms(t)
	s := startNodeAPI(t)
	for _, path := range []string{"/metrics", "/metrics/kubeletauth", "/metrics/resource"} {
		lintMetrics(t, promtool, s.get(t, s.caller, path))
	}
}
