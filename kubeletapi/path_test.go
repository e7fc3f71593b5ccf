package kubeletapi

import (
	"bufio"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kubeletauth/kubeletapi/internal/cleanpath"
)

// parseRequest is what net/http makes of a request target on the wire.
func parseRequest(method, target string) (*http.Request, error) {
	return http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: node\r\n\r\n")))
}

// What is let through is served as it was authorized: however a handler splits
// the path, decoding before or after, it sees the same segments, none of which
// leads elsewhere. What is redirected leads to a path that is let through, on
// this host.
func FuzzCanonicalPath(f *testing.F) {
	for _, target := range []string{"/", "/metrics/%2e%2e/exec", "/a%20b//c", "//x", "/stats/../exec", "/logs/%e4%bd", "/a?b#c", `/\x`, "*", "http://h/..", "/%2F"} {
		f.Add("GET", target)
		f.Add("CONNECT", target)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		r, err := parseRequest(method, target)
		if err != nil {
			return
		}
		redirect, err := cleanpath.Redirect(r)
		switch {
		case err != nil:
		case redirect == "":
			checkServed(t, r)
		default:
			again, err := parseRequest("GET", redirect)
			if err != nil || strings.HasPrefix(redirect, "//") || strings.ContainsRune(redirect, '\\') {
				t.Fatalf("%q leads to %q: %v", target, redirect, err)
			}
			if next, err := cleanpath.Redirect(again); next != "" || err != nil {
				t.Fatalf("%q leads to %q, which leads to %q, %v", target, redirect, next, err)
			}
		}
	})
}

func checkServed(t *testing.T, r *http.Request) {
	if r.Method == http.MethodConnect && r.URL.Path == "" {
		return
	}
	decoded := strings.Split(r.URL.Path, "/")
	var fromWire []string
	for segment := range strings.SplitSeq(r.URL.EscapedPath(), "/") {
		segment, err := url.PathUnescape(segment)
		if err != nil {
			t.Fatal(err)
		}
		fromWire = append(fromWire, segment)
	}
	if !slices.Equal(decoded, fromWire) {
		t.Fatalf("decoded %q, on the wire %q", decoded, fromWire)
	}
	for i, segment := range decoded {
		if segment == "." || segment == ".." || segment == "" && i != 0 && i != len(decoded)-1 || strings.ContainsAny(segment, "\\\x00") {
			t.Fatalf("lets %q through, with the segment %q", r.URL.EscapedPath(), segment)
		}
	}
	authorized := newQuestion(r.Method, r.URL.Path, true)
	mux := http.NewServeMux()
	for s, pattern := range map[subresource]string{subStats: "/stats/", subMetrics: "/metrics/", subLog: "/logs/", subSpec: "/spec/", subPods: "/pods/"} {
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {
			if authorized.subresource != s {
				t.Fatalf("%q was authorized for %v and served as %v", r.URL.EscapedPath(), authorized.subresource, s)
			}
		})
	}
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	handler, _ := mux.Handler(r)
	handler.ServeHTTP(discard{}, r)
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
