package node_test

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kubeletauth/kubeletapi/node"
)

// discard is a client that does not read.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func request(t *testing.T, target string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), "GET", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func logs(dir string) http.Handler {
	return node.API{LogDir: dir, Logger: slog.New(slog.DiscardHandler)}.Handler()
}

// anchor is a line of a listing.
var anchor = regexp.MustCompile(`^<a href="([^"<>]*)">([^<>"]*)</a>$`)

// listed returns what a page links to, and what it calls that.
func listed(t *testing.T, body string) (links, names []string) {
	t.Helper()
	lines := strings.Split(body, "\n")
	if len(lines) < 4 || lines[0] != "<!doctype html>" || lines[1] != "<pre>" || lines[len(lines)-2] != "</pre>" || lines[len(lines)-1] != "" {
		t.Fatalf("the page is %q", body)
	}
	for _, line := range lines[2 : len(lines)-2] {
		match := anchor.FindStringSubmatch(line)
		if match == nil {
			t.Errorf("not a link: %q", line)
			continue
		}
		links, names = append(links, html.UnescapeString(match[1])), append(names, html.UnescapeString(match[2]))
	}
	return links, names
}

// TestLogNames follows each link of a folder with hostile names, as a browser
// does, and wants the content of the file that has the name.
func TestLogNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	mkdir(t, dir)
	shown := map[string]string{} // what the page calls it
	for _, name := range []string{
		"plain.log", "<img src=x onerror=alert(1)>", "<script>", "x.html", "x.js", "x.svg", "x.log.gz", "index.html", "a\nb", "a\r\nb", "a\tb", "\x1b[31m",
		"%2e%2e", "%2e%2e%2fsecret", "%", "%zz", "..a", "...", "a..", ".hidden", "-dash", "~", "a:b", "javascript:alert(1)", "http:", "C:",
		"a b", " ", "a?b", "a#b", "?", "#", "a&lt;b", "a&amp;b", "a&lt", `a"b`, `"`, "'", "`", "a;b", "a+b", "a=b", "a@b", "a,b", "$(x)", "*",
		"CON", "NUL.txt", "\xff\xfe", "a\xc3", "é", "日本", "e\u0301", "\u202egol.txt", "\u2028", "\u200b", "\x7f", strings.Repeat("n", 255), "a\\b", "\\\\server",
	} {
		if os.WriteFile(filepath.Join(dir, name), []byte("<html>this is "+name), 0o600) != nil {
			t.Logf("this system has no file %q", name)
			continue
		}
		quoted := strconv.Quote(name)
		shown[name] = quoted[1 : len(quoted)-1]
	}
	server := httptest.NewServer(logs(dir))
	defer server.Close()
	base, err := url.Parse(server.URL + "/logs/")
	if err != nil {
		t.Fatal(err)
	}
	_, body := get(t, server, "GET", "/logs/")
	links, names := listed(t, body)
	var found []string
	for i, link := range links {
		reference, err := url.Parse(link)
		if err != nil {
			t.Fatalf("%q: %v", link, err)
		}
		target := base.ResolveReference(reference)
		response, content := get(t, server, "GET", strings.TrimPrefix(target.String(), server.URL))
		name, ok := strings.CutPrefix(content, "<html>this is ")
		if !ok || shown[name] != names[i] {
			t.Errorf("%q, called %q, leads to %q: %d %q", link, names[i], target, response.StatusCode, content)
		}
		found = append(found, name)
		if h := response.Header; h.Get("Content-Type") != text || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") == "" {
			t.Errorf("%q: a browser may execute it: %q", name, h)
		}
	}
	if slices.Sort(found); !slices.Equal(found, slices.Sorted(maps.Keys(shown))) {
		t.Errorf("the links lead to %q", found)
	}
}

// TestLogFolders follows the redirect of each folder, whatever it is called.
func TestLogFolders(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sub", "a:b", "javascript:x", "http:", "%2e", "a b", "a?b", "a#b", "..a", "é", "\xff", "index.html", "a&b"} {
		if os.MkdirAll(filepath.Join(dir, "in", name, "deep"), 0o755) != nil {
			t.Logf("this system has no folder %q", name)
			continue
		}
		server := httptest.NewServer(logs(dir))
		target := (&url.URL{Path: "/logs/in/" + name}).String()
		response, body := get(t, server, "GET", target)
		if response.StatusCode != 307 || body != "" {
			t.Errorf("GET %s: %d %q", target, response.StatusCode, body)
		}
		location, err := response.Location()
		if err != nil {
			t.Fatal(err)
		}
		if location.String() != server.URL+target+"/" {
			t.Errorf("GET %s: to %q", target, location)
		}
		_, body = get(t, server, "GET", strings.TrimPrefix(location.String(), server.URL))
		if links, _ := listed(t, body); !slices.Equal(links, []string{"deep/"}) {
			t.Errorf("GET %s: %q", location, body)
		}
		server.Close()
	}
}

// tree makes a folder of logs beside a secret, and returns it. Whatever is not to
// be shown has "secret" in its name and its content.
func tree(t testing.TB) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "logs")
	mkdir(t, filepath.Join(dir, "sub", "deep"))
	mkdir(t, filepath.Join(top, "secrets"))
	mkdir(t, filepath.Join(top, "logs-secret"))
	write(t, filepath.Join(top, "secret"), "secret")
	write(t, filepath.Join(top, "secrets", "secret"), "secret")
	write(t, filepath.Join(top, "logs-secret", "secret"), "secret")
	for _, name := range []string{"a.log", "sub/b.log", "sub/deep/c.log", "..d", "%2e%2e", "index.html", "x y"} {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), "log "+name)
	}
	for name, target := range map[string]string{
		"in": "sub/b.log", "sub/up": "../a.log", "sub/in": "../sub/b.log", "folder": "sub", "in-in": "in", "sub/folder": "../sub/deep", "dot": ".", "slash": "sub/",
		"out": "../secret", "sub/out": "../../secret", "out-folder": "../secrets", "out-and-in": "../logs/a.log", "sibling": "../logs-secret/secret",
		"absolute": filepath.Join(top, "secret"), "absolute-in": filepath.Join(dir, "a.log"), "root": "/", "device": "/dev/zero", "out-in-two": "folder/../../secret",
		"self": "self", "loop-a": "loop-b", "loop-b": "loop-a", "loop-out": "dot/dot/dot/../secret", "dangling": "nothing", "dangling-out": "../nothing", "empty-out": "..",
	} {
		if err := os.Symlink(filepath.FromSlash(target), filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Logf("without the symlink %s: %v", name, err)
		}
	}
	return dir
}

// paths are those of files in a tree, with what is to be shown: "" is 404, and
// "/" stands for a folder.
var paths = []struct{ path, want string }{
	{"a.log", "log a.log"},
	{"sub/b.log", "log sub/b.log"},
	{"sub/deep/c.log", "log sub/deep/c.log"},
	{"..d", "log ..d"},
	{"%252e%252e", "log %2e%2e"},
	{"index.html", "log index.html"},
	{"x%20y", "log x y"},
	{"", "/"},
	{"sub/", "/"},
	{"folder/", "/"},
	{"dot/", "/"},
	{"dot/dot/sub/", "/"},
	{"in", "log sub/b.log"},
	{"in-in", "log sub/b.log"},
	{"sub/up", "log a.log"},
	{"sub/in", "log sub/b.log"},
	{"folder/b.log", "log sub/b.log"},
	{"sub/folder/c.log", "log sub/deep/c.log"},
	{"dot/a.log", "log a.log"},
	{"a.log/", ""},
	{"in/", ""},
	{"a.log/x", ""},
	{"A.LOG/x", ""},
	{"nothing", ""},
	{"nothing/", ""},
	{"sub/nothing", ""},
	{"out", ""},
	{"out/", ""},
	{"sub/out", ""},
	{"out-folder", ""},
	{"out-folder/", ""},
	{"out-folder/secret", ""},
	{"out-folder/nothing", ""},
	{"out-and-in", ""},
	{"out-in-two", ""},
	{"sibling", ""},
	{"absolute", ""},
	{"absolute-in", ""},
	{"root", ""},
	{"root/", ""},
	{"root/etc/passwd", ""},
	{"device", ""},
	{"self", ""},
	{"self/", ""},
	{"loop-a", ""},
	{"loop-out", ""},
	{"dangling", ""},
	{"dangling-out", ""},
	{"empty-out", ""},
	{"empty-out/", ""},
	{"empty-out/secret", ""},
	{"%2e%2e/secret", ""},
	{"%2e%2e%2fsecret", ""},
	{"..%2fsecret", ""},
	{"%2e%2e%2flogs%2fa.log", ""},
	{"sub%2f..%2f..%2fsecret", ""},
	{"sub/%2e%2e/%2e%2e/secret", ""},
	{"%2fetc%2fpasswd", ""},
	{"%2f", ""},
	{"%2fa.log", ""},
	{"..%5csecret", ""},
	{"..%5c..%5csecret", ""},
	{"%2e%2e", ""},
	{"%2e%2e/", ""},
	{"a.log%00", ""},
	{"%00", ""},
	{"a.log%00/../secret", ""},
	{"%ff", ""},
	{"%c0%ae%c0%ae/secret", ""},
	{"sub/%c0%af/secret", ""},
	{"%252e%252e%252fsecret", ""},
	{"..;/secret", ""},
	{"a.log;x", ""},
	{"a.log%20", ""},
	{"~", ""},
	{"C:/Windows/win.ini", ""},
	{strings.Repeat("n", 256), ""},
	{strings.Repeat("sub/", 5000), ""},
	{strings.Repeat("dot/", 5000) + "a.log", ""},
	{strings.Repeat("sub/%2e%2e/", 200) + "..%2fsecret", ""},
}

func TestLogPaths(t *testing.T) {
	handler := logs(tree(t))
	for _, tt := range paths {
		u, err := url.Parse("/logs/" + tt.path)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Host: "node"})
		got := w.Body.String()
		switch tt.want {
		case "":
			if w.Code != 404 && w.Code != 307 || strings.Contains(got, "secret") && w.Code != 307 || w.Code == 404 && got != "404 page not found\n" {
				t.Errorf("%.100s: %d %q", tt.path, w.Code, got)
			}
		case "/":
			if links, _ := listed(t, got); w.Code != 200 || len(links) == 0 {
				t.Errorf("%s: %d %q", tt.path, w.Code, got)
			}
		default:
			if w.Code != 200 || got != tt.want {
				t.Errorf("%s: %d %q, want %q", tt.path, w.Code, got, tt.want)
			}
		}
	}
}

// FuzzLogs holds that what is served is the content of a file below the folder,
// or a list of what is in a folder below it, whatever the path.
func FuzzLogs(f *testing.F) {
	for _, tt := range paths {
		f.Add(tt.path)
	}
	dir := tree(f)
	handler := logs(dir)
	inside := map[string]bool{}
	filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			inside[string(content)] = true
		}
		return err
	})
	if len(inside) != 7 {
		f.Fatalf("there are %d logs", len(inside))
	}
	f.Fuzz(func(t *testing.T, path string) {
		for _, target := range []*url.URL{{Path: "/logs/" + path}, {Path: "/" + path}, parsed("/logs/" + path)} {
			if target == nil {
				continue
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, &http.Request{Method: "GET", URL: target, Host: "node"})
			if w.Code != 200 || !strings.HasPrefix(target.Path, "/logs/") {
				continue
			}
			got := w.Body.String()
			switch w.Header().Get("Content-Type") {
			case text:
				if !inside[got] {
					t.Errorf("%q: %q", target, got)
				}
			case page:
				links, _ := listed(t, got)
				if !slices.Contains(links, "a.log") && !slices.Contains(links, "b.log") && !slices.Contains(links, "c.log") {
					t.Errorf("%q: %q", target, got)
				}
			default:
				t.Errorf("%q: %q", target, w.Header())
			}
		}
	})
}

func parsed(target string) *url.URL {
	u, err := url.Parse(target)
	if err != nil {
		return nil
	}
	return u
}

func TestLogRequests(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ten"), "0123456789")
	write(t, filepath.Join(dir, "empty"), "")
	modified := time.Date(2026, 5, 4, 3, 2, 1, 987654321, time.UTC)
	for _, name := range []string{"ten", "empty"} {
		if err := os.Chtimes(filepath.Join(dir, name), modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	const same, before, after = "Mon, 04 May 2026 03:02:01 GMT", "Mon, 04 May 2026 03:02:00 GMT", "Mon, 04 May 2026 03:02:02 GMT"
	for _, tt := range []struct {
		method, path, header string
		code                 int
		contentRange, length string
		body                 string
	}{
		{"GET", "ten", "X: x", 200, "", "10", "0123456789"},
		{"HEAD", "ten", "X: x", 200, "", "10", ""},
		{"GET", "ten", "Range: bytes=0-0", 206, "bytes 0-0/10", "1", "0"},
		{"GET", "ten", "Range: bytes=2-5", 206, "bytes 2-5/10", "4", "2345"},
		{"HEAD", "ten", "Range: bytes=2-5", 206, "bytes 2-5/10", "4", ""},
		{"GET", "ten", "Range: bytes=7-", 206, "bytes 7-9/10", "3", "789"},
		{"GET", "ten", "Range: bytes=7-70", 206, "bytes 7-9/10", "3", "789"},
		{"GET", "ten", "Range: bytes=-4", 206, "bytes 6-9/10", "4", "6789"},
		{"GET", "ten", "Range: bytes=-40", 206, "bytes 0-9/10", "10", "0123456789"},
		{"GET", "ten", "Range: bytes=10-", 416, "bytes */10", "33", "invalid range: failed to overlap\n"},
		{"GET", "ten", "Range: bytes=5-2", 416, "", "14", "invalid range\n"},
		{"GET", "ten", "Range: bytes=99999999999999999999-", 416, "", "14", "invalid range\n"},
		{"GET", "ten", "Range: lines=1-2", 416, "", "14", "invalid range\n"},
		{"GET", "ten", "Range: bytes=" + strings.Repeat("0-9,", 1000) + "0-9", 200, "", "10", "0123456789"}, // more than the file
		{"GET", "empty", "X: x", 200, "", "0", ""},
		{"GET", "ten", "If-Modified-Since: " + same, 304, "", "", ""},
		{"HEAD", "ten", "If-Modified-Since: " + same, 304, "", "", ""},
		{"GET", "ten", "If-Modified-Since: " + after, 304, "", "", ""},
		{"GET", "ten", "If-Modified-Since: " + before, 200, "", "10", "0123456789"},
		{"GET", "ten", "If-Modified-Since: yesterday", 200, "", "10", "0123456789"},
		{"GET", "ten", "If-Unmodified-Since: " + before, 412, "", "", ""},
		{"GET", "ten", "Accept-Encoding: gzip", 200, "", "10", "0123456789"},
	} {
		w := serve(logs(dir), tt.method, "/logs/"+tt.path, tt.header)
		h := w.Header()
		if w.Code != tt.code || h.Get("Content-Range") != tt.contentRange || w.Body.String() != tt.body {
			t.Errorf("%s %s, %.60s: %d %q %q", tt.method, tt.path, tt.header, w.Code, h, w.Body)
		}
		if got := h.Get("Content-Length"); got != "" && got != tt.length {
			t.Errorf("%s %s, %.60s: Content-Length %s, want %s", tt.method, tt.path, tt.header, got, tt.length)
		}
		if tt.code < 400 && h.Get("Last-Modified") != same {
			t.Errorf("%s %s, %.60s: Last-Modified %q", tt.method, tt.path, tt.header, h.Get("Last-Modified"))
		}
	}
	w := serve(logs(dir), "GET", "/logs/ten", "Range: bytes=0-1,-2,4-5")
	media, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if w.Code != 206 || media != "multipart/byteranges" || err != nil {
		t.Fatalf("%d %q", w.Code, w.Header())
	}
	parts := multipart.NewReader(w.Body, params["boundary"])
	for _, want := range []string{"01", "89", "45"} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(part)
		if string(got) != want || err != nil || part.Header.Get("Content-Type") != text {
			t.Errorf("%q %v %q, want %q", got, err, part.Header, want)
		}
	}
}

// meddler does something to a log when its content begins to be sent.
type meddler struct {
	*httptest.ResponseRecorder
	meddle func()
}

func (m *meddler) Write(b []byte) (int, error) {
	if m.meddle != nil {
		m.meddle()
		m.meddle = nil
	}
	return m.ResponseRecorder.Write(b)
}

// TestLogThatChanges holds that what is sent is never more than was there when
// the log was opened, and never of another file.
func TestLogThatChanges(t *testing.T) {
	const size = 1 << 20
	content := strings.Repeat("x", size)
	for _, tt := range []struct {
		name   string
		meddle func(path string) error
		most   int
		least  int
	}{
		{"grows", func(path string) error { return appendTo(path, strings.Repeat("y", size)) }, size, size},
		{"is truncated", func(path string) error { return os.Truncate(path, 0) }, size, 0},
		{"is removed", os.Remove, size, size},
		{"is rotated", func(path string) error {
			if err := os.Rename(path, path+".1"); err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.Repeat("y", size)), 0o600)
		}, size, size},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.log")
		write(t, path, content)
		w := &meddler{httptest.NewRecorder(), func() {
			if err := tt.meddle(path); err != nil {
				t.Logf("%s: %v", tt.name, err)
			}
		}}
		logs(dir).ServeHTTP(w, request(t, "/logs/a.log"))
		got := w.Body.String()
		if w.Header().Get("Content-Length") != strconv.Itoa(size) || len(got) > tt.most || len(got) < tt.least || strings.Contains(got, "y") {
			t.Errorf("%s: %q, then %d bytes", tt.name, w.Header(), len(got))
		}
	}
}

func appendTo(path, content string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.WriteString(file, content)
	return err
}

func TestLogFolderWithManyFiles(t *testing.T) {
	dir := t.TempDir()
	const most = 10_000
	for i := range most {
		write(t, filepath.Join(dir, fmt.Sprintf("%05d", i)), "")
	}
	body := serve(logs(dir), "GET", "/logs/").Body.String()
	if links, _ := listed(t, body); len(links) != most || !slices.IsSorted(links) {
		t.Errorf("%d links", len(links))
	}
	write(t, filepath.Join(dir, "one-more"), "")
	body = serve(logs(dir), "GET", "/logs/").Body.String()
	body, cut := strings.CutSuffix(body, "There are more than these 10000 entries.\n</pre>\n")
	if links, _ := listed(t, body+"</pre>\n"); len(links) != most || !slices.IsSorted(links) || !cut {
		t.Errorf("%d links, cut: %v", len(links), cut)
	}
}

// TestLogDirComesAndGoes holds that nothing but the present folder is shown.
func TestLogDirComesAndGoes(t *testing.T) {
	var log bytes.Buffer
	dir := filepath.Join(t.TempDir(), "logs")
	handler := node.API{LogDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}.Handler()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, dir) {
		t.Errorf("logged %q", got)
	}
	log.Reset()
	want := func(code int, body string) {
		t.Helper()
		w := serve(handler, "GET", "/logs/a.log")
		if w.Code != code || w.Body.String() != body {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, code, body)
		}
	}
	for _, content := range []string{"one", "two"} {
		want(404, "404 page not found\n")
		mkdir(t, dir)
		write(t, filepath.Join(dir, "a.log"), content)
		want(200, content)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if got := log.String(); got != "" {
		t.Errorf("what is not there is no news: %q", got)
	}
	write(t, dir, "a file in place of the folder")
	want(404, "404 page not found\n")
	if got := serve(handler, "GET", "/logs/"); got.Code != 404 || log.Len() == 0 {
		t.Errorf("%d, logged %q", got.Code, &log)
	}
}

// However long a path is that cannot be shown, the log line about it is not.
func TestRefusedLogIsClipped(t *testing.T) {
	var log strings.Builder
	api := node.API{LogDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	w := httptest.NewRecorder()
	api.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/logs/"+strings.Repeat("x", 60_000), nil))
	if w.Code != http.StatusNotFound || log.Len() == 0 || log.Len() > 4<<10 {
		t.Errorf("%d, %d bytes of log", w.Code, log.Len())
	}
}
