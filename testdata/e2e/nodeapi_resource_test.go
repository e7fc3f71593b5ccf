package e2e

import (
	"context"
	"net/http/httptest"
	"regexp"
	"testing"

	"k8s.io/component-base/metrics"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/kubernetes/pkg/kubelet/metrics/collectors"
)

// TestNodeAPIResource gives the kubelet's own collector what our summary says, and wants its metrics to be ours, byte
// for byte, but for the time: a summary has whole seconds, and both have the same.
func TestNodeAPIResource(t *testing.T) {
	s := startNodeAPI(t)
	var ours, again string
	var summary statsapi.Summary
	for try := 0; again == "" || ours != again; try++ { // until all are of one reading
		if try == 20 {
			t.Fatal("no two answers of one reading")
		}
		ours = s.body(t, "GET", "/metrics/resource")
		summary = s.summary(t, "GET", "?only_cpu_and_memory=true")
		again = s.body(t, "GET", "/metrics/resource")
	}
	registry := metrics.NewKubeRegistry()
	registry.CustomMustRegister(collectors.NewResourceMetricsCollector(nodeAPISummaries{summary}))
	w := httptest.NewRecorder()
	metrics.HandlerFor(registry, metrics.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics/resource", nil))
	time := regexp.MustCompile(`( \d{10})\d{3}\n`)                          // milliseconds
	hidden := regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?scrape_error .*\n`) // in a kubelet since v1.29, but not in a test, which has no version
	theirs := hidden.ReplaceAllString(time.ReplaceAllString(w.Body.String(), "$1\n"), "")
	if ours := time.ReplaceAllString(ours, "$1\n"); ours != theirs {
		t.Errorf("ours:\n%s\ntheirs:\n%s", ours, theirs)
	}
}

// nodeAPISummaries is a source of summaries for the kubelet's collector.
type nodeAPISummaries struct{ summary statsapi.Summary }

func (s nodeAPISummaries) Get(context.Context, bool) (*statsapi.Summary, error) {
	return &s.summary, nil
}

func (s nodeAPISummaries) GetCPUAndMemoryStats(context.Context) (*statsapi.Summary, error) {
	return &s.summary, nil
}
