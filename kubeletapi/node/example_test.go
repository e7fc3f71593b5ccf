package node_test

import (
	"context"
	"encoding/json"
	"errors"
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
	for _, path := range []string{"/healthz", "/metrics", "/configz", "/pods", "/exec"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Printf("%d %s %q\n", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	// Output:
	// 200 text/plain; charset=utf-8 "ok"
	// 200 text/plain; version=0.0.4; charset=utf-8 "requests_total 1\n"
	// 200 application/json "{\"port\":10250}\n"
	// 200 application/json "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[]}\n"
	// 404 text/plain; charset=utf-8 "404 page not found\n"
}

func ExampleAPI_HealthHandler() {
	handler := node.API{Ready: []node.Check{
		{Name: "serving-certificate", Check: func(context.Context) error { return nil }},
		{Name: "api-server", Check: func(context.Context) error { return errors.New("dial tcp 10.0.0.1:443: i/o timeout") }},
	}}.HealthHandler()
	for _, path := range []string{"/readyz", "/readyz?exclude=api-server", "/healthz?verbose"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Printf("%s: %d\n%s\n", path, w.Code, w.Body)
	}
	// Output:
	// /readyz: 500
	// [+]ping ok
	// [+]serving-certificate ok
	// [-]api-server failed: reason withheld
	// readyz check failed
	//
	// /readyz?exclude=api-server: 200
	// ok
	// /healthz?verbose: 200
	// [+]ping ok
	// healthz check passed
}

// provider stands for a virtual kubelet: it knows the pods that it runs
// somewhere else. A v1.Pod of k8s.io/api, encoded, does as well as text.
type provider struct{}

func (provider) Pods(context.Context) ([]json.RawMessage, error) {
	pod := map[string]any{"metadata": map[string]any{"name": "web-0", "namespace": "default"}, "status": map[string]any{"phase": "Running"}}
	encoded, err := json.Marshal(pod)
	return []json.RawMessage{encoded}, err
}

func ExamplePodSource() {
	handler := node.API{NodeName: "virtual-1", Pods: provider{}}.Handler()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/pods", nil))
	fmt.Print(w.Body)
	// Output: {"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"web-0","namespace":"default"},"status":{"phase":"Running"}}]}
}
