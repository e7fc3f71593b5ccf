package upstream

import (
	"net/http"
	"strings"
)

// Route returns a handler that serves the paths below prefixes by match, and all
// others by rest. A prefix is one of whole segments: /metrics is for /metrics and
// /metrics/cadvisor, not for /metricsx. One that ends in a slash means the same
// without it; one that does not begin with a slash is for no path. The decoded
// path is compared, byte by byte, as it was authorized.
func Route(prefixes []string, match, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, prefix := range prefixes {
			below, ok := strings.CutPrefix(r.URL.Path, strings.TrimSuffix(prefix, "/"))
			if ok && strings.HasPrefix(prefix, "/") && (below == "" || below[0] == '/') {
				match.ServeHTTP(w, r)
				return
			}
		}
		rest.ServeHTTP(w, r)
	})
}
