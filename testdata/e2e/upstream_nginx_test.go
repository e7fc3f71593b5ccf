package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubeletauth/testdata/e2e/internal/harness"
)

// nginxConfiguration is for a folder, twice what to listen on, and the list of headers that /headers shows.
const nginxConfiguration = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	log_format seen '$request_method $request_uri $server_protocol';
	access_log %[1]s/access.log seen;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	client_max_body_size 0;
	underscores_in_headers on;
	merge_slashes off;
	default_type text/plain;
	server {
		listen %[2]s;
		location / { return 200 "$request_method $request_uri"; }
		location = /headers { return 200 "%[3]s"; }
		location = /moved { return 301 /files/text; }
		location = /away { return 302 http://192.0.2.1/a%%20b?c=d; }
		location = /refused { return 401; }
		location /files/ { root %[1]s; dav_methods PUT DELETE; }
		location /zipped/ { alias %[1]s/files/; gzip on; gzip_min_length 1; gzip_types *; }
	}
}
`

// nginxHeaders are what the upstream must not see, or what is set for it, as nginx calls them: with underscores.
var nginxHeaders = []string{
	"authorization", "proxy_authorization", "x_remote_user", "x_remote_uid", "impersonate_user", "x_forwarded_for", "forwarded", "x_real_ip", "x_kept",
}

// nginx is a running nginx with files in its folder: files/text and files/large.
type nginx struct {
	*harness.Process
	program, dir string
	url          string // for --upstream
	text         string // what is in files/text
	large        []byte // what is in files/large
}

// nginxProgram is the machine's own nginx, or that of Debian's package, which is unpacked and not installed.
func nginxProgram(t *testing.T) string {
	t.Helper()
	if program, err := exec.LookPath("nginx"); err == nil {
		return program
	}
	dir, err := unpackedPackage(t.Context(), "nginx", "usr/sbin/nginx")
	if err != nil {
		t.Skipf("there is no nginx on this machine, and its package cannot be had: %v", err)
	}
	program := filepath.Join(dir, "usr/sbin/nginx")
	if out, err := exec.CommandContext(t.Context(), program, "-v").CombinedOutput(); err != nil {
		t.Skipf("the nginx of the package does not run on this machine: %v %s", err, out)
	}
	return program
}

// startNginx runs nginx on a port of loopback or on a socket, for the length of the test.
func startNginx(t *testing.T, onSocket bool) *nginx {
	t.Helper()
	n := &nginx{program: nginxProgram(t), text: strings.Repeat("All that flows is flushed.\n", 1000), large: make([]byte, 16<<20)}
	var err error
	if n.dir, err = os.MkdirTemp("", "kubeletauth-nginx-"); err != nil { // short, for the socket's sake
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(n.dir) })
	listen := "unix:" + n.dir + "/s"
	if n.url = "unix://" + n.dir + "/s"; !onSocket {
		port, err := harness.FreePort("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		n.url = "http://" + listen
	}
	rand.NewChaCha8([32]byte{}).Read(n.large)
	if err := os.Mkdir(filepath.Join(n.dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	promWrite(t, filepath.Join(n.dir, "files/text"), []byte(n.text))
	promWrite(t, filepath.Join(n.dir, "files/large"), n.large)
	var headers strings.Builder
	for _, name := range nginxHeaders {
		headers.WriteString(name + "=$http_" + name + ";")
	}
	promWrite(t, filepath.Join(n.dir, "nginx.conf"), fmt.Appendf(nil, nginxConfiguration, n.dir, listen, headers.String()))
	n.start(t)
	return n
}

// start starts nginx, also after an end.
func (n *nginx) start(t *testing.T) {
	t.Helper()
	n.Process = harness.RunFor(t, "nginx", exec.Command(n.program, "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-e", "stderr"))
	network, address := "tcp", strings.TrimPrefix(n.url, "http://")
	if socket, ok := strings.CutPrefix(n.url, "unix://"); ok {
		network, address = "unix", socket
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := n.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stop ends nginx as its service manager does, so that it removes its socket.
func (n *nginx) stop(t *testing.T) {
	t.Helper()
	if err := n.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n.Err()
}

// TestUpstreamNginx shows nginx behind our server, on TCP and on a Unix socket, for clients of HTTP/1.1 and HTTP/2.
func TestUpstreamNginx(t *testing.T) {
	c := theCluster(t)
	for _, on := range []string{"TCP", "a Unix socket"} {
		t.Run(on, func(t *testing.T) {
			n := startNginx(t, on != "TCP")
			s := startUpstream(t, c, n.url, upstreamProxyRights(), "--upstream-identity-headers")
			t.Run("bytes of the path", func(t *testing.T) { nginxPaths(t, n, s) })
			t.Run("redirects", func(t *testing.T) { nginxRedirects(t, n, s) })
			t.Run("identity", func(t *testing.T) { nginxIdentity(t, s) })
			for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
				t.Run(proto, func(t *testing.T) {
					t.Run("answers", func(t *testing.T) { nginxAnswers(t, n, s, proto) })
					t.Run("gzip", func(t *testing.T) { nginxZips(t, n, s, proto) })
					t.Run("large bodies", func(t *testing.T) { nginxCopies(t, n, s, proto) })
				})
			}
			t.Run("stopped", func(t *testing.T) { nginxStopped(t, c, n) })
			t.Run("down and up again", func(t *testing.T) { nginxDown(t, n, s) }) // which ends the new one too
		})
	}
}

// nginxPaths shows that nginx is asked for the bytes that were authorized, and for nothing that was refused.
func nginxPaths(t *testing.T, n *nginx, s *upstreamServer) {
	var want []string
	for _, target := range []string{
		"/", "/a", "/a/", "/a%41b", "/%c3%a4/%C3%A4", "/a%20b", "/~a-b_c.d", "/a;b=c", "/a!$&'()*+,=:@", "/%21%2a", "/a%25", "/a%252Fb", "/a[b]",
		"/a%3Fb?c%3Dd=e%26f", "/a%23b", "/a%7Cb", "/a.", "/...", "/?", "/a?", "/?&&a=1&a=2&", "/?q=%20+%2b%2B&e=&e", "/x?y=/../z//&w=%2e%2e/",
		"/x?u=http://y/?z", "/x?a[]=%5B%5d", "/%E2%80%AE", "/a%0d%0ab",
	} {
		want = append(want, target)
		expect(t, s.raw(t, target), http.StatusOK, "GET "+target)
	}
	for target, status := range map[string]int{
		"/a%2Fb": 400, "/a%2fb": 400, "/a%5Cb": 400, `/a\b`: 400, "/a%00": 400, "/a/%2e%2e/b": 400, "/a/.%2E/b": 400, "/a/%2e/b": 400, "/a%": 400, "/a%zz": 400,
		"/a|b": 400, `/a"b`: 400, "/a<b": 400, "/ä": 400, "/a?x=%zz": 400, "/a?x;y": 400, "/a?x#y": 400,
		"//a": 307, "/a//b": 307, "/a/../b": 307, "/a/./b": 307, "/a/..": 307,
	} {
		if answer := s.raw(t, target); answer.Status != status {
			t.Errorf("%s: %d %q, want %d", target, answer.Status, answer.Body, status)
		}
	}
	if got := n.seen(t, s); !slices.Equal(got, want) {
		t.Errorf("nginx was asked for %q,\nwant %q", got, want)
	}
}

// seen returns the targets of the requests to nginx since the last time, which it logs when they are over.
func (n *nginx) seen(t *testing.T, s *upstreamServer) []string {
	t.Helper()
	const fence = "/end-of-what-was-asked"
	expect(t, s.raw(t, fence), http.StatusOK, "GET "+fence)
	var targets []string
	pageWithin(t, 10*time.Second, "nginx logs a request", func() bool {
		content, err := os.ReadFile(filepath.Join(n.dir, "access.log"))
		if err != nil {
			t.Fatal(err)
		}
		targets = nil
		for line := range strings.Lines(string(content)) {
			targets = append(targets, strings.Fields(line)[1])
		}
		return slices.Contains(targets, fence)
	})
	if err := os.Truncate(filepath.Join(n.dir, "access.log"), 0); err != nil {
		t.Fatal(err)
	}
	return targets[:slices.Index(targets, fence)]
}

// nginxRedirects shows that redirects are the client's, as nginx wrote them, and that a 401 of nginx is no word about
// the client's credential, but passes too.
func nginxRedirects(t *testing.T, n *nginx, s *upstreamServer) {
	n.seen(t, s)
	moved := s.raw(t, "/moved")
	if location := moved.Header.Get("Location"); moved.Status != http.StatusMovedPermanently || !strings.HasSuffix(location, "/files/text") || strings.Contains(location, s.token) {
		t.Errorf("%d to %q", moved.Status, location)
	}
	away := s.raw(t, "/away")
	if location := away.Header.Get("Location"); away.Status != http.StatusFound || location != "http://192.0.2.1/a%20b?c=d" {
		t.Errorf("%d to %q", away.Status, location)
	}
	if refused := s.raw(t, "/refused"); refused.Status != http.StatusUnauthorized || !strings.Contains(refused.Body, "nginx") {
		t.Errorf("%d %q", refused.Status, refused.Body)
	}
	if got, want := n.seen(t, s), []string{"/moved", "/away", "/refused"}; !slices.Equal(got, want) {
		t.Errorf("nginx was asked for %q, want %q", got, want)
	}
}

// nginxIdentity shows which of a client's headers nginx sees: it cannot tell an underscore from a hyphen.
func nginxIdentity(t *testing.T, s *upstreamServer) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		r := s.request(t, "GET", "/headers", nil, "X-Kept", "kept", "X_Remote_User", "admin", "X-Remote_user", "admin",
			"X_Remote-Uid", "0", "Impersonate_User", "admin", "X-Forwarded-For", "192.0.2.1", "X_forwarded_for", "192.0.2.1", "Forwarded", "for=192.0.2.1",
			"X-Real-Ip", "192.0.2.1", "Proxy-Authorization", "Basic YTpi", "Proxy_authorization", "Basic YTpi")
		answer := harness.Send(t, s.client(t, proto), r)
		expect(t, answer, http.StatusOK, "authorization=;proxy_authorization=;x_remote_user="+s.account.Username()+
			";x_remote_uid="+s.account.UID+
			";impersonate_user=;x_forwarded_for=;forwarded=;x_real_ip=;x_kept=kept;")
	}
}

// nginxAnswers shows what nginx has to say about ranges, conditions and methods.
func nginxAnswers(t *testing.T, n *nginx, s *upstreamServer, proto string) {
	client := s.client(t, proto)
	whole := harness.Send(t, client, s.request(t, "GET", "/files/text", nil))
	expect(t, whole, http.StatusOK, n.text)
	for _, test := range []struct {
		name, method, path string
		headers            []string
		status             int
		body               string
	}{
		{"range", "GET", "/files/text", []string{"Range", "bytes=4-12"}, 206, n.text[4:13]},
		{"the last bytes", "GET", "/files/text", []string{"Range", "bytes=-5"}, 206, n.text[len(n.text)-5:]},
		{"range of this version", "GET", "/files/text", []string{"Range", "bytes=0-2", "If-Range", whole.Header.Get("ETag")}, 206, n.text[:3]},
		{"range of another version", "GET", "/files/text", []string{"Range", "bytes=0-2", "If-Range", `"other"`}, 200, n.text},
		{"not modified", "GET", "/files/text", []string{"If-None-Match", whole.Header.Get("ETag")}, 304, ""},
		{"not modified since", "GET", "/files/text", []string{"If-Modified-Since", whole.Header.Get("Last-Modified")}, 304, ""},
		{"failed condition", "GET", "/files/text", []string{"If-Match", `"other"`}, 412, "412"},
		{"beyond the end", "GET", "/files/text", []string{"Range", "bytes=99999999-"}, 416, "416"},
		{"two ranges", "GET", "/files/text", []string{"Range", "bytes=0-1,4-5"}, 206, "Content-Range: bytes 4-5/" + strconv.Itoa(len(n.text))},
		{"HEAD", "HEAD", "/files/text", nil, 200, ""},
		{"not there", "GET", "/files/none", nil, 404, "404"},
		{"method not known", "BREW", "/pot", nil, 200, "BREW /pot"},
		{"OPTIONS", "OPTIONS", "/x", nil, 200, "OPTIONS /x"},
		{"TRACE", "TRACE", "/x", nil, 405, "Method Not Allowed"},
	} {
		answer := harness.Send(t, client, s.request(t, test.method, test.path, nil, test.headers...))
		exact := test.status < 400 && test.name != "two ranges"
		if answer.Status != test.status || exact && answer.Body != test.body || !strings.Contains(answer.Body, test.body) {
			t.Errorf("%s: %d %.200q", test.name, answer.Status, answer.Body)
		}
		if test.method == "HEAD" && answer.Header.Get("Content-Length") != strconv.Itoa(len(n.text)) {
			t.Errorf("HEAD: %v", answer.Header)
		}
	}
}

// nginxZips shows that an answer is compressed if the client asks for that, and only then; nginx sends it in chunks.
func nginxZips(t *testing.T, n *nginx, s *upstreamServer, proto string) {
	client := s.client(t, proto)
	plain := harness.Send(t, client, s.request(t, "GET", "/zipped/text", nil))
	expect(t, plain, http.StatusOK, n.text)
	if plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("not asked for: %v", plain.Header)
	}
	response, err := client.Do(s.request(t, "GET", "/zipped/text", nil, "Accept-Encoding", "gzip"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Header.Get("Content-Encoding") != "gzip" || response.ContentLength != -1 || response.Proto != proto {
		t.Fatalf("%s %s: %v", response.Proto, response.Status, response.Header)
	}
	if chunked := slices.Equal(response.TransferEncoding, []string{"chunked"}); chunked != (proto == "HTTP/1.1") {
		t.Errorf("the transfer encoding is %v", response.TransferEncoding)
	}
	unzipped, err := gzip.NewReader(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(unzipped); err != nil || string(text) != n.text {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// nginxCopies loads a large file down, and up to another with its length told and in chunks.
func nginxCopies(t *testing.T, n *nginx, s *upstreamServer, proto string) {
	client := s.client(t, proto)
	want := sha256.Sum256(n.large)
	if answer := harness.Send(t, client, s.request(t, "GET", "/files/large", nil)); answer.Status != 200 || sha256.Sum256([]byte(answer.Body)) != want {
		t.Errorf("GET: %d, %d bytes", answer.Status, len(answer.Body))
	}
	for name, body := range map[string]io.Reader{"whole": bytes.NewReader(n.large), "chunked": struct{ io.Reader }{bytes.NewReader(n.large)}} {
		if answer := harness.Send(t, client, s.request(t, "PUT", "/files/"+name, body)); answer.Status != http.StatusCreated {
			t.Errorf("PUT %s: %d %s", name, answer.Status, answer.Body)
		}
		if content, err := os.ReadFile(filepath.Join(n.dir, "files", name)); err != nil || sha256.Sum256(content) != want {
			t.Errorf("PUT %s: nginx has %d bytes, %v", name, len(content), err)
		}
		if answer := harness.Send(t, client, s.request(t, "DELETE", "/files/"+name, nil)); answer.Status != http.StatusNoContent {
			t.Errorf("DELETE %s: %d %s", name, answer.Status, answer.Body)
		}
	}
}

// nginxDown shows that an upstream that is down is 502 with a line in the log, and that nothing else is needed when it
// is up again.
func nginxDown(t *testing.T, n *nginx, s *upstreamServer) {
	n.stop(t)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		expect(t, harness.Send(t, s.client(t, proto), s.request(t, "GET", "/down?secret=1", nil)), http.StatusBadGateway, "Bad Gateway\n")
	}
	if log := s.LogTail(1); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "path=/down") || strings.Contains(log, "secret") {
		t.Errorf("the log says %q", log)
	}
	n.start(t)
	expect(t, s.raw(t, "/up"), http.StatusOK, "GET /up")
}

// nginxStopped shows that an upstream that takes connections and does not answer is 504.
func nginxStopped(t *testing.T, c *harness.Cluster, n *nginx) {
	s := startUpstream(t, c, n.url, upstreamProxyRights(), "--upstream-timeout=300ms")
	if err := n.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	expect(t, s.raw(t, "/slow"), http.StatusGatewayTimeout, "Gateway Timeout\n")
	if err := n.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	pageWithin(t, 20*time.Second, "nginx answers again", func() bool { return s.raw(t, "/up").Status == http.StatusOK })
}
