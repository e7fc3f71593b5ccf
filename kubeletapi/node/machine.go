package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"kubeletauth/kubeletapi/internal/machine"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

// machineAPI shows the readings of a machine.
type machineAPI struct {
	API
	reader  *machine.Reader
	flights ttlcache.Group[string, []byte] // by what is shown
}

// newMachineAPI takes a first reading, so that the first client may see a CPU
// rate.
func newMachineAPI(a API, r *machine.Reader) *machineAPI {
	r.Stats()
	return &machineAPI{API: a, reader: r, flights: ttlcache.Group[string, []byte]{Timeout: 5 * time.Second}}
}

// show answers with what read returns. All who ask for the same at the same time
// share one reading. Should the system not let go of it, because a disk is gone
// for example, nobody waits longer than 6 seconds, and no second one starts.
func (m *machineAPI) show(w http.ResponseWriter, r *http.Request, contentType, what string, read func() ([]byte, error)) {
	body, err := m.flights.Do(r.Context(), what, func(context.Context) ([]byte, error) { return read() })
	m.answer(w, r, contentType, body, err)
}

// summary answers as handleSummary of pkg/kubelet/server/stats/handler.go in
// Kubernetes v1.37.2, but for a query or form that cannot be read: 400, not 500.
// There are no pods: what they use is for their runtime to say.
func (m *machineAPI) summary(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	what := "all"
	if only := r.Form["only_cpu_and_memory"]; len(only) == 1 && only[0] == "true" {
		what = "CPU and memory"
	}
	m.show(w, r, "application/json", what, func() ([]byte, error) {
		node := m.reader.Stats().Summary(what == "all")
		node["nodeName"] = m.NodeName
		return json.Marshal(machine.Object{"node": node, "pods": [0]any{}}) // an empty slice would be left out
	})
}

// resource answers with what pkg/kubelet/metrics/collectors/resource_metrics.go
// in Kubernetes v1.37.2 has of a node. The error is 1 if the CPU or the working
// set is not known.
func (m *machineAPI) resource(w http.ResponseWriter, r *http.Request) {
	m.show(w, r, "text/plain; version=0.0.4; charset=utf-8", "resource", func() ([]byte, error) { return resourceMetrics(m.reader.Stats()), nil })
}

func resourceMetrics(stats *machine.Stats) []byte {
	root := stats.Groups[""]
	var body []byte
	add := func(kind, name, help string, value *uint64, unit float64) {
		if value != nil {
			body = fmt.Appendf(body, "# HELP %s %s\n# TYPE %s %s\n%s %s %d\n", name, help, name, kind, name,
				strconv.FormatFloat(float64(*value)/unit, 'g', -1, 64), stats.Time.UnixMilli())
		}
	}
	add("counter", "node_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the node in core-seconds", root.CPU, 1e9)
	add("gauge", "node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", root.WorkingSet, 1)
	add("gauge", "node_swap_usage_bytes", "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems", root.Swap, 1)
	failed := 0
	if root.CPU == nil || root.WorkingSet == nil {
		failed = 1
	}
	return fmt.Appendf(body, "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n"+
		"# TYPE resource_scrape_error gauge\nresource_scrape_error %d\n", failed)
}

// spec answers with cAdvisor's MachineInfo, as the kubelet did until it gave
// /spec/ up.
func (m *machineAPI) spec(w http.ResponseWriter, r *http.Request) {
	m.show(w, r, "application/json", "machine", func() ([]byte, error) { return json.Marshal(m.reader.Info()) })
}
