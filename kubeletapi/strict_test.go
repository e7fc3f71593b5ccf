package kubeletapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestStrictStreamingVerbs(t *testing.T) {
	for _, test := range []struct {
		method, path, header string
		verb                 string // that is asked for when strict
	}{
		{"GET", "/exec/default/p/c", "", "create"},
		{"GET", "/exec", "", "create"},
		{"POST", "/run/default/p/c", "", "create"},
		{"PUT", "/attach/default/p/c", "", "create"},
		{"DELETE", "/portForward/default/p", "", "create"},
		{"HEAD", "/exec/x", "", "create"},
		{"get", "/exec/x", "", "create"},
		{"GET", "/executor", "", "get"},
		{"GET", "/Exec/x", "", "get"},
		{"GET", "/portforward/x", "", "get"},
		{"GET", "/containerLogs/ns/p/c", "", "get"},
		{"GET", "/metrics", "", "get"},
		{"GET", "/metrics", "Upgrade: websocket", "create"},
		{"GET", "/metrics", "Connection: upgrade", "get"}, // no protocol to leave HTTP for
		{"GET", "/logs/x", "Upgrade: SPDY/3.1", "create"},
		{"GET", "/logs/x", "Upgrade: ", "create"},
		{"CONNECT", "/metrics", "", "create"},
		{"CONNECT", "/metrics", ":protocol: websocket", "create"},
		{"OPTIONS", "/metrics", "", ""},
	} {
		r := &http.Request{Method: test.method, URL: &url.URL{Path: test.path}, Header: http.Header{}}
		if test.header != "" {
			i := strings.LastIndex(test.header, ": ")
			r.Header[test.header[:i]] = []string{test.header[i+2:]}
		}
		for _, attributes := range []func(*http.Request) string{
			func(r *http.Request) string { return (&Auth{StrictStreamingVerbs: true}).Attributes(nil, r)[0].Verb },
			func(r *http.Request) string { return strictNonResource(r).Verb },
		} {
			if got := attributes(r); got != test.verb {
				t.Errorf("%s %s %s: %q, not %q", test.method, test.path, test.header, got, test.verb)
			}
		}
		if got, want := (&Auth{}).Attributes(nil, r)[0].Verb, verbOf(test.method).String(); got != want {
			t.Errorf("not strict: %s %s %s: %q, not %q", test.method, test.path, test.header, got, want)
		}
	}
}

// The verb that is asked for is the one that is decided, and remembered apart.
func TestStrictVerbIsReviewed(t *testing.T) {
	for _, kind := range []string{AttributesKubelet, AttributesNonResource} {
		f := newFlooded(t, Config{StrictStreamingVerbs: true, RequestAttributes: kind})
		f.ask(t.Context(), "127.0.0.1:1", "good-token", "/exec/good")
		r := httptest.NewRequest("GET", "/exec/good", nil)
		r.Header.Set("Authorization", "Bearer good-token")
		if _, err := f.auth.Check(r); err != nil {
			t.Fatal(err)
		}
		if want := "create"; len(f.api.verbs) != 1 || f.api.verbs[0] != want {
			t.Errorf("%s: reviewed %q", kind, f.api.verbs)
		}
		f.auth.Close()
	}
}

func TestAnonymousByPath(t *testing.T) {
	f := newFlooded(t, Config{AnonymousAuth: true, AnonymousAuthPaths: []string{"/healthz", "/metrics/"}})
	defer f.auth.Close()
	for _, test := range []struct {
		path, token string
		code        int
	}{
		{"/healthz", "", 200},
		{"/healthz?verbose", "", 200},
		{"/%68ealthz", "", 200}, // the same path
		{"/metrics/", "", 200},
		{"/healthz/", "", 401},
		{"/healthz/ping", "", 401},
		{"/Healthz", "", 401},
		{"/metrics", "", 401},
		{"/", "", 401},
		{"/x/../healthz", "", 307},
		{"/x/%2e%2e/healthz", "", 400},
		{"/healthz", "bad", 401}, // a refused credential is not anonymous
		{"/metrics", "good", 200},
	} {
		if w := f.ask(t.Context(), "127.0.0.1:1", test.token, test.path); w.Code != test.code {
			t.Errorf("%s %q: %d, not %d", test.path, test.token, w.Code, test.code)
		}
	}
}
