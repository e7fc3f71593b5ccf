// Package node serves what a node has to show of itself. It protects nothing:
// serve it behind a [kubeletauth/kubeletapi.Auth].
package node

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"

	"kubeletauth/kubeletapi/internal/machine"
)

// API is a node's API. Its fields must not change once a handler is made of it,
// and what they hold must be safe for concurrent use. The zero API shows no
// logs, no pods and no profiles, and is always ready.
type API struct {
	// NodeName is the name of the node object, for /stats/summary.
	NodeName string

	// Metrics writes /metrics and /metrics/kubeletauth, in the Prometheus text
	// format. Nil writes none; an error is logged and makes the answer 500.
	Metrics func(io.Writer) error
	// Configz is encoded as the JSON of /configz. It must hold no secret.
	Configz any

	// LogDir is the folder whose files /logs/ shows, such as /var/log. It is
	// opened for each request, and may come and go. Empty shows no logs.
	LogDir string
	// Pods knows the pods of /pods and /runningpods/. Nil has none.
	Pods PodSource

	// Live are the checks of /healthz besides ping. One that fails should be
	// mended by starting this process again: whether another server answers
	// does not belong here.
	Live []Check
	// Ready are the checks of /readyz besides ping.
	Ready []Check

	// Profiling serves /debug/pprof/ and what is below it, unless it is nil. A
	// program that imports net/http/pprof may give http.DefaultServeMux, of
	// which nothing else is served. This package does not import it: that would
	// show profiles to whoever may ask a server of http.DefaultServeMux.
	Profiling http.Handler

	// Logger is told what a client is not: why an answer failed. Nil is
	// slog.Default().
	Logger *slog.Logger
}

// Handler returns the handler of all that a has to show, /healthz and /readyz
// included (see [API.HealthHandler]), and of /stats/summary, /metrics/resource
// and /spec/, which show this machine.
//
// As in the kubelet, health, metrics and /configz take any method, /stats/summary
// GET and POST, and the rest GET: another method gets 405 with Allow. HEAD, which
// the kubelet refuses there, goes with GET. Any other path is 404, as all below
// /stats/ but the summary is in the kubelet (CreateHandlers of
// pkg/kubelet/server/stats). So are logs and profiles that are not shown, for
// which the kubelet has 405 (InstallSystemLogHandler and InstallProfilingHandler
// of pkg/kubelet/server).
func (a API) Handler() http.Handler {
	mux, m := a.healthMux(), newMachineAPI(a, new(machine.Reader))
	for pattern, handler := range map[string]http.HandlerFunc{
		"/metrics": a.metrics, "/metrics/kubeletauth": a.metrics, "/metrics/resource": m.resource, "/configz": a.configz,
		"GET /stats/summary": m.summary, "POST /stats/summary": m.summary, "GET /spec": m.spec, "GET /spec/{$}": m.spec,
		"GET /pods": a.pods, "GET /pods/{$}": a.pods, "GET /runningpods": a.pods, "GET /runningpods/{$}": a.pods,
		"GET /logs/{path...}": a.logs,
	} {
		mux.HandleFunc(pattern, handler)
	}
	if _, err := os.Stat(a.LogDir); err != nil && a.LogDir != "" {
		a.logger().Warn("No logs can be shown until their folder is there", "dir", a.LogDir, "err", err)
	}
	if a.Profiling != nil {
		mux.Handle("GET /debug/pprof/", a.Profiling)
	}
	return mux
}

func (a API) metrics(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	var err error
	if a.Metrics != nil {
		err = a.Metrics(&body)
	}
	a.answer(w, r, "text/plain; version=0.0.4; charset=utf-8", body.Bytes(), err)
}

func (a API) configz(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(a.Configz)
	a.answer(w, r, "application/json", append(body, '\n'), err)
}

// answer sends all of body, or 500 and nothing of err.
func (a API) answer(w http.ResponseWriter, r *http.Request, contentType string, body []byte, err error) {
	if err != nil {
		level := slog.LevelError
		if r.Context().Err() != nil { // the client is gone
			level = slog.LevelInfo
		}
		a.logger().Log(r.Context(), level, "Cannot answer a request", "path", r.URL.Path, "err", err)
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	send(w, contentType, body)
}

func send(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // for HEAD too
	w.Write(body)
}

const plainText = "text/plain; charset=utf-8"

func (a API) logger() *slog.Logger { return cmp.Or(a.Logger, slog.Default()) }
