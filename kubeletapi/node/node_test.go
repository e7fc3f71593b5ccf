package node_test

import (
	"fmt"
	"io"
	"net/http/httptest"

	"kubeletauth/kubeletapi/node"
)

func Example() {
	handler := node.API{
		Metrics: func(w io.Writer) error { _, err := io.WriteString(w, "requests_total 1\n"); return err },
		Configz: map[string]any{"port": 10250},
	}.Handler()
	for _, path := range []string{"/healthz", "/metrics", "/configz", "/exec"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Printf("%d %s %q\n", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	// Output:
	// 200 text/plain; charset=utf-8 "ok"
	// 200 text/plain; version=0.0.4; charset=utf-8 "requests_total 1\n"
	// 200 application/json "{\"port\":10250}\n"
	// 404 text/plain; charset=utf-8 "404 page not found\n"
}
