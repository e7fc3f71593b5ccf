package node

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"kubeletauth/kubeletapi/internal/ttlcache"
)

// Check is a condition of this node's health.
type Check struct {
	// Name is what /readyz/<name> and ?exclude=<name> call it.
	Name string
	// Check returns why the condition does not hold, which is logged when it
	// changes and never shown, or nil if it holds. Its context ends after 5
	// seconds, and does not end with the request. Requests that come while it
	// runs wait for the same answer; for those that have waited 6 seconds it
	// has failed, as it has for everyone if it panics. Nil always holds.
	Check func(context.Context) error
}

// health are the checks of one path.
type health struct {
	API
	name   string // healthz or readyz
	checks []Check

	flights ttlcache.Group[string, struct{}] // by the check's name
	last    sync.Map                         // what each check said, as text
}

// HealthHandler returns the handler of /healthz and /readyz and the checks below
// them, and of nothing else: it may be served without a filter, as the kubelet
// serves /healthz on its healthz port. It shows which checks fail, not why.
//
// Answers are those of Kubernetes (handleRootHealth of
// k8s.io/apiserver/pkg/server/healthz), with ?verbose and ?exclude=<check>; only
// the path of one check that fails says "reason withheld" in place of the
// reason. The kubelet has no /readyz.
func (a API) HealthHandler() http.Handler { return a.healthMux() }

func (a API) healthMux() *http.ServeMux {
	mux := http.NewServeMux()
	ping := []Check{{Name: "ping"}}
	for name, checks := range map[string][]Check{"healthz": a.Live, "readyz": a.Ready} {
		h := &health{API: a, name: name, checks: slices.Concat(ping, checks), flights: ttlcache.Group[string, struct{}]{Timeout: 5 * time.Second}}
		mux.HandleFunc("/"+name, h.all)
		mux.HandleFunc("/"+name+"/{check...}", h.one)
	}
	return mux
}

// all makes each check that the query does not exclude.
func (h *health) all(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	report, passed := h.report(query["exclude"])
	switch {
	case !passed:
		http.Error(w, report, http.StatusInternalServerError)
	case query.Has("verbose"):
		send(w, plainText, []byte(report+"\n"))
	default:
		send(w, plainText, []byte("ok"))
	}
}

func (h *health) report(excluded []string) (report string, passed bool) {
	excluded = slices.Compact(slices.Sorted(slices.Values(excluded)))
	verdict := "passed"
	for _, c := range h.checks {
		switch i, found := slices.BinarySearch(excluded, c.Name); {
		case found:
			excluded = slices.Delete(excluded, i, i+1)
			report += "[+]" + c.Name + " excluded: ok\n"
		case h.check(c) != nil:
			report += "[-]" + c.Name + " failed: reason withheld\n"
			verdict = "failed"
		default:
			report += "[+]" + c.Name + " ok\n"
		}
	}
	for i, name := range excluded {
		excluded[i] = fmt.Sprintf("%q", name)
	}
	if len(excluded) > 0 {
		report += "warn: some health checks cannot be excluded: no matches for " + strings.Join(excluded, ",") + "\n"
	}
	return report + h.name + " check " + verdict, verdict == "passed"
}

// one makes the check that the path names.
func (h *health) one(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(h.checks, func(c Check) bool { return c.Name == r.PathValue("check") })
	switch {
	case i < 0:
		http.NotFound(w, r)
	case h.check(h.checks[i]) != nil:
		http.Error(w, "internal server error: reason withheld", http.StatusInternalServerError)
	default:
		send(w, plainText, []byte("ok"))
	}
}

// check waits for the answer even if the client does not, since it is to be
// logged.
func (h *health) check(c Check) error {
	if c.Check == nil {
		return nil
	}
	_, err := h.flights.Do(context.Background(), c.Name, func(ctx context.Context) (none struct{}, err error) { return none, c.Check(ctx) })
	if before, _ := h.last.Swap(c.Name, fmt.Sprint(err)); err != nil && before != fmt.Sprint(err) {
		h.logger().Error("A health check fails", "path", "/"+h.name, "check", c.Name, "err", err)
	}
	return err
}
