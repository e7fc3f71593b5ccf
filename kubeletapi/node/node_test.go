package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/kubeletapi/node"
)

// world has all that an API can show.
func world(t *testing.T) node.API {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), "line\n")
	mkdir(t, filepath.Join(dir, "sub"))
	return node.API{
		Metrics:   func(w io.Writer) error { _, err := io.WriteString(w, manyMetrics); return err },
		Configz:   map[string]string{"html": "<script>"},
		LogDir:    dir,
		Profiling: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "profile of "+r.URL.Path) }),
		Logger:    slog.New(slog.DiscardHandler),
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// serve answers without a connection.
func serve(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	text       = "text/plain; charset=utf-8"
	exposition = "text/plain; version=0.0.4; charset=utf-8"
	page       = "text/html; charset=utf-8"
	js         = "application/json"
	emptyList  = `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}` + "\n"
)

// manyMetrics do not fit the buffer of which net/http makes a Content-Length.
var manyMetrics = strings.Repeat("up 1\n", 10_000)

var otherMethods = []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "PROPFIND", "!"}

var routes = []struct {
	path, contentType, body string
	anyMethod               bool
}{
	{"/healthz", text, "ok", true},
	{"/healthz/ping", text, "ok", true},
	{"/readyz", text, "ok", true},
	{"/readyz/ping", text, "ok", true},
	{"/metrics", exposition, manyMetrics, true},
	{"/metrics/kubeletauth", exposition, manyMetrics, true},
	{"/configz", js, `{"html":"\u003cscript\u003e"}` + "\n", true},
	{"/pods", js, emptyList, false},
	{"/pods/", js, emptyList, false},
	{"/runningpods", js, emptyList, false},
	{"/runningpods/", js, emptyList, false},
	{"/logs/", page, "<!doctype html>\n<pre>\n<a href=\"a.log\">a.log</a>\n<a href=\"sub/\">sub/</a>\n</pre>\n", false},
	{"/logs/sub/", page, "<!doctype html>\n<pre>\n</pre>\n", false},
	{"/logs/a.log", text, "line\n", false},
	{"/logs/a.log?query=kubelet&tailLines=1", text, "line\n", false},
}

func TestRoutes(t *testing.T) {
	server := httptest.NewServer(world(t).Handler())
	defer server.Close()
	for _, tt := range routes {
		response, body := get(t, server, "GET", tt.path)
		if response.StatusCode != 200 || response.Header.Get("Content-Type") != tt.contentType || body != tt.body {
			t.Errorf("GET %s: %d %q %q", tt.path, response.StatusCode, response.Header, body)
		}
		if response.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s: a browser may take it for something else", tt.path)
		}
		head, body := get(t, server, "HEAD", tt.path)
		if want := int64(len(tt.body)); tt.contentType != page && (head.ContentLength != want || response.ContentLength != want) {
			t.Errorf("%s: Content-Length %d, of HEAD %d, want %d", tt.path, response.ContentLength, head.ContentLength, want)
		}
		got, want := maps.Clone(head.Header), maps.Clone(response.Header)
		delete(got, "Date")
		delete(want, "Date")
		if diff := cmp.Diff(want, got); diff != "" || body != "" || head.StatusCode != 200 {
			t.Errorf("HEAD %s: %d %q (-GET +HEAD):\n%s", tt.path, head.StatusCode, body, diff)
		}
		for _, method := range otherMethods {
			response, body := get(t, server, method, tt.path)
			switch {
			case tt.anyMethod:
				if response.StatusCode != 200 || body != tt.body {
					t.Errorf("%s %s: %d %q", method, tt.path, response.StatusCode, body)
				}
			case response.StatusCode != 405 || response.Header.Get("Allow") != "GET, HEAD" || body != "Method Not Allowed\n":
				t.Errorf("%s %s: %d %q %q", method, tt.path, response.StatusCode, response.Header, body)
			}
		}
	}
}

// TestMachineRoutes leaves what they say to other tests.
func TestMachineRoutes(t *testing.T) {
	api := world(t)
	api.NodeName = "the-node"
	server := httptest.NewServer(api.Handler())
	defer server.Close()
	for _, tt := range []struct{ path, contentType, allow, part string }{
		{"/stats/summary", js, "GET, HEAD, POST", `"nodeName":"the-node"`},
		{"/stats/summary?only_cpu_and_memory=true", js, "GET, HEAD, POST", `"nodeName":"the-node"`},
		{"/metrics/resource", exposition, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, get", "\nresource_scrape_error "},
		{"/spec", js, "GET, HEAD", `{"`},
		{"/spec/", js, "GET, HEAD", `{"`},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"} {
			response, body := get(t, server, method, tt.path)
			h := response.Header
			switch {
			case !slices.Contains(strings.Split(tt.allow, ", "), method):
				if response.StatusCode != 405 || h.Get("Allow") != tt.allow {
					t.Errorf("%s %s: %d %q", method, tt.path, response.StatusCode, h)
				}
			case response.StatusCode != 200 || h.Get("Content-Type") != tt.contentType || h.Get("X-Content-Type-Options") != "nosniff":
				t.Errorf("%s %s: %d %q", method, tt.path, response.StatusCode, h)
			case method == "HEAD" && (body != "" || response.ContentLength < 1), method != "HEAD" && !strings.Contains("\n"+body, tt.part):
				t.Errorf("%s %s: %d bytes: %.200q", method, tt.path, response.ContentLength, body)
			}
		}
	}
}

// get follows no redirect.
func get(t *testing.T, server *httptest.Server, method, target string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestElsewhere(t *testing.T) {
	api := world(t)
	for _, tt := range []struct {
		path     string
		code     int
		location string
	}{
		{"/", 404, ""},
		{"/exec", 404, ""},
		{"/metrics/", 404, ""},
		{"/metrics/cadvisor", 404, ""},
		{"/stats", 404, ""},
		{"/stats/", 404, ""},
		{"/stats/container", 404, ""},
		{"/stats/summary/", 404, ""},
		{"/metrics/resource/", 404, ""},
		{"/spec/x", 404, ""},
		{"/pods/x", 404, ""},
		{"/runningpods/x", 404, ""},
		{"/configz/", 404, ""},
		{"/healthz/", 404, ""},
		{"/healthz/pin", 404, ""},
		{"/healthz/ping/", 404, ""},
		{"/healthz/ping/x", 404, ""},
		{"/readyz/", 404, ""},
		{"/livez", 404, ""},
		{"/logs", 307, "/logs/"},
		{"/logs?a=b", 307, "/logs/?a=b"},
		{"/logs/sub", 307, "sub/"},
		{"/logsx", 404, ""},
		{"/debug/pprof", 307, "/debug/pprof/"},
		{"/debug/pprof/heap", 200, ""},
		{"/debug/pprof/", 200, ""},
		{"/debug/flags/v", 404, ""},
		{"/debug/", 404, ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if w := serve(api.Handler(), method, tt.path); w.Code != tt.code || w.Header().Get("Location") != tt.location {
				t.Errorf("%s %s: %d %q", method, tt.path, w.Code, w.Header())
			}
		}
	}
	zero := node.API{Logger: slog.New(slog.DiscardHandler)}.Handler()
	for path, code := range map[string]int{"/logs/": 404, "/logs/a.log": 404, "/logs/node.go": 404, "/debug/pprof/": 404, "/debug/pprof/heap": 404, "/metrics": 200, "/configz": 200} {
		if w := serve(zero, "GET", path); w.Code != code {
			t.Errorf("GET %s of the zero API: %d %q", path, w.Code, w.Body)
		}
	}
}

// TestImport holds that an embedder's http.DefaultServeMux is left alone.
func TestImport(t *testing.T) {
	if w := serve(http.DefaultServeMux, "GET", "/debug/pprof/"); w.Code != 404 {
		t.Errorf("http.DefaultServeMux serves profiles: %d", w.Code)
	}
}

func TestAnswerThatFails(t *testing.T) {
	var log bytes.Buffer
	api := node.API{
		Metrics: func(w io.Writer) error { io.WriteString(w, "half\n"); return errors.New("disk on fire") },
		Configz: func() {},
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
	}
	for _, tt := range []struct{ path, logged string }{
		{"/metrics", "disk on fire"},
		{"/metrics/kubeletauth", "disk on fire"},
		{"/configz", "unsupported type"},
	} {
		log.Reset()
		w := serve(api.Handler(), "GET", tt.path)
		if w.Code != 500 || w.Body.String() != "Internal Server Error\n" || w.Header().Get("Content-Type") != text {
			t.Errorf("GET %s: %d %q %q", tt.path, w.Code, w.Header(), w.Body)
		}
		if got := log.String(); !strings.Contains(got, tt.logged) || !strings.Contains(got, "path="+tt.path) {
			t.Errorf("GET %s: logged %q", tt.path, got)
		}
	}
}

func TestNoLoggerIsTheDefault(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	var log bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	missing := filepath.Join(t.TempDir(), "missing")
	node.API{LogDir: missing}.Handler()
	if got := log.String(); !strings.Contains(got, fmt.Sprintf("dir=%s", missing)) {
		t.Errorf("logged %q", got)
	}
}
