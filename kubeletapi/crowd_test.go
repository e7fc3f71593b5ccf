package kubeletapi_test

import (
	"bytes"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"kubeletauth/kubeletapi"
)

// Of more connections than the server takes, those go that have shown nothing.
func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t)
	auth, err := kubeletapi.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auth.Close)
	w.api.AllowUser("jane", "get", "metrics")
	w.serve(&kubeletapi.Server{Config: w.cfg, Auth: auth, MaxConnections: 20, Handler: http.NotFoundHandler()})
	known := w.client("HTTP/1.1", nil)
	reused := countConnections(known)
	w.want(404, known, "/metrics", "Bearer "+goodToken)
	for range 100 {
		defer w.dial().Close()
	}
	w.want(404, known, "/metrics", "Bearer "+goodToken)
	if *reused != 1 {
		t.Errorf("an honest client needed %d connections", *reused)
	}
	w.want(404, w.client("HTTP/1.1", nil), "/metrics", "Bearer "+goodToken)
	var metrics bytes.Buffer
	if auth.WriteMetrics(&metrics); !strings.Contains(metrics.String(), "kubeletauth_evicted_connections_total 82\n") {
		t.Errorf("of 102 connections, 82 had to go:\n%s", &metrics)
	}
}

// Whoever shows no credential gets one answer of an HTTP/2 connection.
func TestStrangersConnectionIsClosed(t *testing.T) {
	for _, test := range []struct {
		name, path, authorization string
		anonymous                 bool
		code, connections         int
	}{
		{"no credential", "/metrics", "", false, 401, 3},
		{"a bad token", "/metrics", "Bearer bad", false, 401, 3},
		{"anonymous, who may not", "/metrics", "", true, 403, 3},
		{"a redirect, which comes before the credential", "//metrics", "", false, 307, 3},
		{"a path that is refused before it", "/a%2fb", "", false, 400, 3},
		{"a good token", "/metrics", "Bearer " + goodToken, false, 200, 1},
	} {
		w := newWorld(t)
		w.cfg.AnonymousAuth = test.anonymous
		w.api.AllowUser("jane", "get", "metrics")
		w.start()
		client := w.client("HTTP/2.0", nil)
		connections := countConnections(client)
		for range 3 {
			w.want(test.code, client, test.path, test.authorization)
		}
		if *connections != test.connections {
			t.Errorf("%s: %d connections for 3 requests, not %d", test.name, *connections, test.connections)
		}
	}
}

// countConnections counts those that a client opens.
func countConnections(client *http.Client) *int {
	n := new(int)
	next := client.Transport
	client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			if !i.Reused {
				*n++
			}
		}}
		return next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	})
	return n
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
