package upstream_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"kubeletauth/kubeletapi/upstream"
)

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// What was authorized is what the upstream is asked for, byte for byte.
func TestTargetArrivesUnchanged(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	for _, tt := range []struct {
		target string
		code   int // of the filter and the proxy; 200 for one that arrives
	}{
		{"/", 200},
		{"/metrics", 200},
		{"/metrics/", 200},
		{"/metrics?", 200},
		{"/metrics?a=b&a=c&&d", 200},
		{"/%41%7E%7e%2D", 200},
		{"/a;b=c/d;", 200},
		{"/%ff%FE", 200},
		{"/a%20b%09%0d%0a%23%3f%25", 200},
		{"/a+b!$&'()*,=:@[]~", 200},
		{"/x?a=%41%7e+%2f/?:@!$'()*,", 200},
		{"/x?\xff={}|\"<>^`", 200},
		{"/%E2%80%AE", 200},
		{"/..x/.x/x../...", 200},
		{"http://other.example/absolute?x", 200},
		{"/metrics/%2e%2e/exec", 400}, // the filter's rows, and those of peers who had them
		{"/metrics/%2E./exec", 400},
		{"/metrics%2f..%2fexec", 400},
		{"/metrics/..%2fexec", 400},
		{"/metrics/..%5cexec", 400},
		{"/metrics\\..\\exec", 400},
		{"/metrics/%00", 400},
		{"/metrics/../exec", 307},
		{"//metrics", 307},
		{"/metrics/./x", 307},
		{"*", 400},
		{"http:opaque", 307},
		{"/stats/..;/exec", 400}, // servlet containers cut parameters off before they resolve dots
		{"/stats/..;a=b", 400},
		{"/stats/.;/exec", 400},
		{"/stats/..%3b/exec", 400},
		{"/stats/%2e%2e;/exec", 400},
		{"/stats/...;/;/..a;b", 200},
		{"/a#b", 400}, // a fragment is none of a request's
		{"/a?x#b", 400},
		{"/\xff", 400}, // must be encoded
		{"/\xc3\xa9", 400},
		{"/a|b", 400},
		{"/{a}\"<>^`", 400},
		{"/%2541|", 400},
		{"/a%zz", 400},
		{"/x?a;b", 400}, // two programs could read these in two ways
		{"/x?a=b;c=d", 400},
		{"/x?%", 400},
		{"/x?a=%zz", 400},
		{"/x?a=%4", 400},
		{"/x?" + strings.Repeat("a&", 10_000), 400}, // past what is parsed
		{"/x?" + strings.Repeat("a&", 9_000), 200},
	} {
		res, body := w.raw("GET " + tt.target + " HTTP/1.1\r\nHost: n1\r\n\r\n")
		requests, _ := service.take()
		want := strings.TrimPrefix(tt.target, "http://other.example")
		switch {
		case res.StatusCode != tt.code:
			t.Errorf("%.60q: %d %q, want %d", tt.target, res.StatusCode, body, tt.code)
		case tt.code == 200 && (len(requests) != 1 || requests[0].RequestURI != want || body != "GET "+want):
			t.Errorf("%.60q: the upstream saw %v", tt.target, requests)
		case tt.code != 200 && len(requests) > 0:
			t.Errorf("%.60q: the upstream saw %q", tt.target, requests[0].RequestURI)
		}
	}
	if strings.Contains(w.log.String(), "zz") {
		t.Error("the log has a query:", w.log)
	}
}

// A path that no server parsed is not passed on for what it is not.
func TestPathsOfNoServer(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	for name, change := range map[string]func(*http.Request){
		"none":     func(r *http.Request) { r.URL.Path = "" },
		"relative": func(r *http.Request) { r.URL.Path = "metrics" },
		"star":     func(r *http.Request) { r.URL.Path = "*" },
		"opaque":   func(r *http.Request) { r.URL.Opaque = "//other.example/exec" },
		"of two":   func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/metrics", "/exec" },
	} {
		r, got := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
		change(r)
		w.proxy.ServeHTTP(got, r)
		if requests, _ := service.take(); got.Code != 400 || requests != nil {
			t.Errorf("%s: %d, the upstream saw %v", name, got.Code, requests)
		}
	}
}

// What decides where a request goes is the configuration alone.
func TestHostAndUser(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	for _, head := range []string{
		"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET http://169.254.169.254/x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET http://user:secret@evil.example/x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
	} {
		res, _ := w.raw(head)
		requests, _ := service.take()
		if res.StatusCode != 200 || len(requests) != 1 || "http://"+requests[0].Host != w.cfg.URL || requests[0].Header.Get("Authorization") != "" || requests[0].RequestURI != "/x" {
			t.Errorf("%q: %d, %v", head, res.StatusCode, requests)
		}
	}
}

func TestMethods(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	for _, tt := range []struct {
		method string
		code   int
	}{
		{"GET", 200}, {"HEAD", 200}, {"POST", 200}, {"PUT", 200}, {"PATCH", 200}, {"DELETE", 200}, {"OPTIONS", 200}, {"PROPFIND", 200}, {"get", 200},
		{"CONNECT", 405}, {"TRACE", 405},
	} {
		c := w.dial()
		c.Write([]byte(tt.method + " /x HTTP/1.1\r\nHost: n1\r\nX-Http-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n"))
		res, body := c.response(tt.method)
		requests, _ := service.take()
		switch {
		case res.StatusCode != tt.code || res.StatusCode == 405 && res.Header.Get("Allow") == "":
			t.Errorf("%s: %d %q %v, want %d", tt.method, res.StatusCode, body, res.Header, tt.code)
		case (len(requests) == 1) != (tt.code == 200) || len(requests) == 1 && (requests[0].Method != tt.method || requests[0].Header.Get("X-Http-Method-Override") != ""):
			t.Errorf("%s: the upstream saw %v", tt.method, requests)
		}
	}
	r, got := httptest.NewRequest("CONNECT", "evil.example:443", nil), httptest.NewRecorder()
	if w.proxy.ServeHTTP(got, r); got.Code != 405 {
		t.Error("CONNECT of an authority:", got.Code)
	}
}

// Whoever smuggles gets 400, or has sent the one request that the upstream sees.
func TestSmuggling(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	const inner = "GET /exec HTTP/1.1\r\nHost: n1\r\nX: y\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		code          int
		body          string
	}{
		{"Content-Length and Transfer-Encoding", "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, ""},
		{"Transfer-Encoding and Content-Length", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc"},
		{"two Content-Length", "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" + inner, 400, ""},
		{"list of Content-Length", "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: 0, 44\r\n\r\n" + inner, 400, ""},
		{"equal Content-Length", "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"},
		{"signed Content-Length", "POST /x HTTP/1.1\r\nHost: n1\r\nContent-Length: +3\r\n\r\nabc", 400, ""},
		{"Content-Length with an underscore", "POST /x HTTP/1.1\r\nHost: n1\r\nContent_Length: 44\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"},
		{"unknown Transfer-Encoding", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, ""},
		{"two Transfer-Encoding", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501, ""},
		{"folded Transfer-Encoding", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc"},
		{"folded list of Transfer-Encoding", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked,\r\n identity\r\n\r\n0\r\n\r\n", 501, ""},
		{"space before the colon", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, ""},
		{"Transfer-Encoding with a tab", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: \tchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc"},
		{"Transfer-Encoding with an underscore", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n", 200, "0\r\n"},
		{"Transfer-Encoding in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, ""},
		{"chunk extension", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0;x\r\n\r\n", 200, "abc"},
		{"bare LF in a chunk extension", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n", 400, ""},
		{"chunk of a negative size", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", 400, ""},
		{"chunk of too large a size", "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", 400, ""},
		{"bare LF after the head", "GET /x HTTP/1.1\nHost: n1\n\n", 200, ""},
		{"bare CR", "GET /x HTTP/1.1\r\nHost: n1\r\nX: a\rb\r\n\r\n", 400, ""},
		{"NUL in a header", "GET /x HTTP/1.1\r\nHost: n1\r\nX: a\x00b\r\n\r\n", 400, ""},
		{"two Host", "GET /x HTTP/1.1\r\nHost: n1\r\nHost: n2\r\n\r\n", 400, ""},
		{"no Host", "GET /x HTTP/1.1\r\n\r\n", 400, ""},
		{"space in the target", "GET /x y HTTP/1.1\r\nHost: n1\r\n\r\n", 400, ""},
		{"body of a GET", "GET /x HTTP/1.1\r\nHost: n1\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"},
		{"chunked body of a GET", "GET /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc"},
		{"empty chunked body of a GET", "GET /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, ""},
		{"h2c preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""},
	} {
		res, body := w.raw(tt.request)
		requests, bodies := service.take()
		switch {
		case res.StatusCode != tt.code:
			t.Errorf("%s: %d %q, want %d", tt.name, res.StatusCode, body, tt.code)
		case tt.code == 200 && (len(requests) != 1 || requests[0].RequestURI != "/x" || bodies[0] != tt.body):
			t.Errorf("%s: the upstream saw %v %q", tt.name, requests, bodies)
		case tt.code != 200 && len(requests) > 0:
			t.Errorf("%s: the upstream saw %v %q", tt.name, requests, bodies)
		}
	}
}

// A redirect is the client's to follow.
func TestRedirectsPassOn(t *testing.T) {
	asked := 0
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
	}))
	res, _ := w.get(w.client(""), "/x")
	if res.StatusCode != 307 || res.Header.Get("Location") != "http://169.254.169.254/latest" || asked != 1 {
		t.Error(res.Status, res.Header, asked)
	}
}

// The environment does not say where requests go.
func TestProxyEnvironmentIsIgnored(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("0.0.0.0 cannot be connected to")
	}
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	t.Setenv("REQUEST_METHOD", "") // not CGI, where HTTP_PROXY would not count
	server := httptest.NewServer(new(recorder))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	w := newWorld(t, upstream.Config{URL: "http://0.0.0.0:" + port}, nil) // net/http has no proxy for 127.0.0.1
	if res, _ := w.get(w.client(""), "/x"); res.StatusCode != 200 {
		t.Error(res.Status, w.log)
	}
}

func TestRoutes(t *testing.T) {
	name := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(name)) })
	}
	for _, tt := range []struct {
		prefixes, path, want string
	}{
		{"/metrics", "/metrics", "match"},
		{"/metrics", "/metrics/", "match"},
		{"/metrics", "/metrics/cadvisor", "match"},
		{"/metrics", "/metricsx", "rest"},
		{"/metrics", "/metrics.txt", "rest"},
		{"/metrics", "/Metrics", "rest"},
		{"/metrics", "/", "rest"},
		{"/metrics", "/%6detrics", "match"}, // authorized as /metrics too
		{"/metrics", "/metrics%20", "rest"},
		{"/metrics", "/x/metrics", "rest"},
		{"/metrics/", "/metrics", "match"},
		{"/metrics/", "/metrics/x", "match"},
		{"/metrics/", "/metricsx", "rest"},
		{"/a/b", "/a/b/c", "match"},
		{"/a/b", "/a", "rest"},
		{"/", "/anything", "match"},
		{"/", "/", "match"},
		{"", "/", "rest"},
		{"metrics", "/metrics", "rest"},
		{"/x,/metrics", "/metrics", "match"},
		{"/metrics", "/metrics/../exec", "match"}, // as it stands: cleaning is the filter's
	} {
		w := httptest.NewRecorder()
		upstream.Route(strings.Split(tt.prefixes, ","), name("match"), name("rest")).ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
		if got := w.Body.String(); got != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.path, tt.prefixes, got, tt.want)
		}
	}
	w := httptest.NewRecorder()
	if upstream.Route(nil, name("match"), name("rest")).ServeHTTP(w, httptest.NewRequest("GET", "/", nil)); w.Body.String() != "rest" {
		t.Error("no prefix matches")
	}
}

// Whoever may pass cannot fill the log with one line.
func TestLogLineIsShort(t *testing.T) {
	var log strings.Builder
	proxy, err := upstream.New(upstream.Config{URL: "http://127.0.0.1:1", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*http.Request{
		"method": httptest.NewRequest(strings.Repeat("M", 60<<10), "/?x=%zz", nil),
		"path":   httptest.NewRequest("GET", "/"+strings.Repeat("p", 60<<10)+"?x=%zz", nil),
	} {
		log.Reset()
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		if n := log.Len(); n == 0 || n > 2<<10 {
			t.Errorf("a long %s makes %d bytes", name, n)
		}
	}
}

// The log says which upstream failed as the configuration does.
func TestLogNamesTheUpstream(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:1", "unix:///there/is/none.sock"} {
		w := newWorld(t, upstream.Config{URL: url}, nil)
		if res, _ := w.get(w.client(""), "/x"); res.StatusCode != 502 || !strings.Contains(w.log.String(), " upstream="+url+" ") {
			t.Errorf("%s: %d %s", url, res.StatusCode, w.log)
		}
	}
}
