// Package node serves what a node has to show of itself. It protects nothing:
// serve it behind a [kubeletauth/kubeletapi.Auth].
package node

import (
	"encoding/json"
	"io"
	"net/http"
)

// API is a node's API.
type API struct {
	// Metrics writes /metrics, in the Prometheus text format. Nil writes none.
	Metrics func(io.Writer) error
	// Configz is encoded as the JSON of /configz. It must hold no secret.
	Configz any
}

// Handler returns the handler of /healthz, which is ok as long as it answers,
// /metrics and /configz. Any other path is 404.
func (a API) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if a.Metrics != nil {
			a.Metrics(w)
		}
	})
	mux.HandleFunc("/configz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(a.Configz)
	})
	return mux
}
