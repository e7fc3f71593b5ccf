package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/upstream"
)

// onlyMetrics allows nodes/metrics and nothing else.
type onlyMetrics struct{}

func (onlyMetrics) Authorize(_ context.Context, a authz.Attributes) (authz.Decision, string, error) {
	if a.Subresource == "metrics" {
		return authz.DecisionAllow, "", nil
	}
	return authz.DecisionDeny, "", nil
}

// Each row is what went wrong elsewhere, byte for byte, with the name that it
// has there: to nobody, who has no credential; to a scraper, who may see
// nodes/metrics; and to jane, who may do anything but say who she is.
func TestKnownAttacks(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	fronts := map[string]*httptest.Server{
		"nobody":  serve(t, (&kubeletapi.Auth{NodeName: "n1", Logger: w.cfg.Logger}).Handler(w.proxy)),
		"scraper": serve(t, (&kubeletapi.Auth{NodeName: "n1", Authenticator: as(jane), Authorizer: onlyMetrics{}, Logger: w.cfg.Logger}).Handler(w.proxy)),
		"jane":    w.front,
	}
	for _, tt := range []struct {
		id, who, request string // the request's lines, with | between them
		code             int
		target           string // of the request that arrives upstream; nothing of it may say evil
	}{
		{"CVE-2026-34457, a health checker by its User-Agent", "nobody", "GET /exec|User-Agent: kube-probe/1.37", 401, ""},
		{"CVE-2026-34457, a load balancer by its User-Agent", "nobody", "GET /exec|User-Agent: GoogleHC/1.0", 401, ""},
		{"CVE-2026-40575, another path by X-Forwarded-Uri", "nobody", "GET /exec|X-Forwarded-Uri: /healthz", 401, ""},
		{"oauth2-proxy#3506, another path by X-Original-Url", "nobody", "GET /exec|X-Original-Url: /healthz|X-Rewrite-Url: /healthz", 401, ""},
		{"CVE-2025-54576, an open path in the query", "nobody", "GET /exec?/healthz", 401, ""},
		{"CVE-2026-41059, an open path in the fragment", "nobody", "GET /exec#/healthz", 401, ""},
		{"CVE-2025-64484, the word of a proxy with underscores", "nobody", "GET /exec|X_Remote_User: root|X_Forwarded_User: root", 401, ""},
		{"KRP#443, the word of a proxy", "nobody", "GET /exec|X-Remote-User: root|X-Remote-Group: system:masters", 401, ""},
		{"cluster-proxy#335, impersonation", "nobody", "GET /exec|Impersonate-User: root|Impersonate-Group: system:masters", 401, ""},
		{"the word of a proxy about its client", "nobody", "GET /exec|X-Forwarded-For: 127.0.0.1|X-Real-Ip: 127.0.0.1|Forwarded: for=127.0.0.1", 401, ""},
		{"CVE-2020-8558, a Host of this machine", "nobody", "GET http://127.0.0.1/exec", 401, ""},
		{"the word of a proxy about a certificate", "nobody", "GET /exec|X-Forwarded-Client-Cert: Subject=\"CN=root\"|X-Ssl-Client-Verify: SUCCESS", 401, ""},
		{"golang/go#80416, h2c", "nobody", "GET /exec|Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABk", 401, ""},
		{"CVE-2018-1002105, a tunnel for nobody", "nobody", "GET /exec|Connection: Upgrade|Upgrade: websocket", 401, ""},
		{"a preflight request", "nobody", "OPTIONS /exec|Origin: https://evil.example|Access-Control-Request-Method: POST", 401, ""},
		{"CVE-2019-11248, profiles", "nobody", "GET /debug/pprof/heap", 401, ""},
		{"CVE-2019-9901, dots", "nobody", "GET /healthz/../exec", 307, ""},

		{"a scraper", "scraper", "GET /metrics", 200, "/metrics"},
		{"CVE-2019-9901, dots", "scraper", "GET /metrics/../exec", 307, ""},
		{"CVE-2022-3162, dots that are encoded", "scraper", "GET /metrics/%2e%2e/exec", 400, ""},
		{"KRP#443, dots that are encoded in part", "scraper", "GET /metrics/.%2e/exec", 400, ""},
		{"CVE-2021-29492, an encoded slash", "scraper", "GET /metrics%2f..%2fexec", 400, ""},
		{"CVE-2021-29492, an encoded backslash", "scraper", "GET /metrics%5c..%5cexec", 400, ""},
		{"dots that are encoded twice are a name", "scraper", "GET /metrics/%252e%252e/exec", 200, "/metrics/%252e%252e/exec"},
		{"dots with a parameter", "scraper", "GET /metrics/..;/exec", 400, ""},
		{"CVE-2021-32779, a fragment", "scraper", "GET /metrics#/../exec", 307, ""},
		{"CVE-2026-41059, a fragment", "scraper", "GET /exec#/metrics", 403, ""},
		{"an encoded fragment is a name", "scraper", "GET /metrics/%23", 200, "/metrics/%23"},
		{"CVE-2025-54576, a query", "scraper", "GET /exec?/metrics", 403, ""},
		{"CVE-2026-40575, X-Forwarded-Uri", "scraper", "GET /exec|X-Forwarded-Uri: /metrics", 403, ""},
		{"CVE-2026-40575, X-Forwarded-Uri, the other way round", "scraper", "GET /metrics|X-Forwarded-Uri: /evil|X-Original-Uri: /evil|X-Rewrite-Url: /evil", 200, "/metrics"},
		{"CVE-2026-39825, a query past what is parsed", "scraper", "GET /metrics?" + strings.Repeat("a&", 10_000) + "evil=1", 400, ""},
		{"CVE-2022-2880, a query that two read in two ways", "scraper", "GET /metrics?a;evil", 400, ""},
		{"CVE-2022-2880, a query that is not to be parsed", "scraper", "GET /metrics?a=%zz&evil", 400, ""},
		{"another method by a header", "scraper", "GET /metrics|X-Http-Method-Override: evil|X_Method_Override: evil", 200, "/metrics"},
		{"CVE-2022-3294, CVE-2020-8555, another host", "scraper", "GET http://169.254.169.254/metrics", 200, "/metrics"},
		{"k/k#119640, a tunnel where none is", "scraper", "GET /exec/x/y/z|Connection: Upgrade|Upgrade: websocket", 403, ""},

		{"golang/go#50580, CVE-2021-33197, Connection: X-Remote-User", "jane", "GET /x|X-Remote-User: evil|Connection: X-Remote-User", 200, "/x"},
		{"CVE-2021-33197, an empty Connection before it", "jane", "GET /x|X-Remote-User: evil|Connection:|Connection: X-Remote-User", 200, "/x"},
		{"CVE-2025-64484, X_Remote_User", "jane", "GET /x|X_Remote_User: evil|X-Remote_Group: evil", 200, "/x"},
		{"cluster-proxy#335, impersonation", "jane", "GET /x|Impersonate-User: evil|Impersonate_Group: evil|impersonate-extra-scopes: evil", 200, "/x"},
		{"CVE-2022-32148, X-Forwarded-For", "jane", "GET /x|X-Forwarded-For: evil|X-Forwarded-For: evil", 200, "/x"},
		{"httpoxy, CVE-2016-5385", "jane", "GET /x|Proxy: http://evil.example", 200, "/x"},
		{"golang/go#80416, h2c", "jane", "GET /x|Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: evil", 200, "/x"},
		{"golang/go#80416, h2c, with no Connection", "jane", "GET /x|Upgrade: h2c|HTTP2-Settings: evil", 200, "/x"},
		{"traefik#13797, h2c in a list", "jane", "GET /x|Connection: Upgrade, HTTP2-Settings|Upgrade: websocket, h2c|HTTP2-Settings: evil", 200, "/x"},
		{"CVE-2022-1705, Transfer-Encoding of an unknown kind", "jane", "POST /x|Content-Length: 4|Transfer-Encoding: evil", 501, ""},
		{"CVE-2025-22871, a chunk that ends in a bare LF", "jane", "POST /x|Transfer-Encoding: chunked||1;a\nx|0|", 400, ""},
		{"other credentials", "jane", "GET /x|Authorization: Bearer evil|Proxy-Authorization: Basic evil", 200, "/x"},
	} {
		front := *w
		front.front = fronts[tt.who]
		head, body, _ := strings.Cut(tt.request, "||")
		method, rest, _ := strings.Cut(head, "|")
		if rest != "" {
			rest = strings.ReplaceAll(rest, "|", "\r\n") + "\r\n"
		}
		res, got := front.raw(method + " HTTP/1.1\r\nHost: n1\r\n" + rest + "\r\n" + strings.ReplaceAll(body, "|", "\r\n"))
		requests, _ := service.take()
		arrived := ""
		for _, r := range requests {
			arrived += r.RequestURI
			if strings.Contains(strings.ToLower(fmt.Sprint(r.Header)), "evil") || r.Header["Upgrade"] != nil || r.Header["Connection"] != nil {
				t.Errorf("%s: the upstream saw %v", tt.id, r.Header)
			}
		}
		if res.StatusCode != tt.code || arrived != tt.target {
			t.Errorf("%s, by %s: %d %.80q, and %.80q arrived", tt.id, tt.who, res.StatusCode, got, arrived)
		}
	}
}

// frames speaks HTTP/2 and hides nothing: each field of a header is sent as it
// is, without compression.
type frames struct{ *conn }

func (f frames) send(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	f.Write(append(binary.BigEndian.AppendUint32(append(head, flags), stream), payload...))
}

// ended waits for the end of a stream or of the connection.
func (f frames) ended(stream uint32) {
	for {
		var head [9]byte
		if _, err := io.ReadFull(f.r, head[:]); err != nil {
			return
		}
		kind, flags, id := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		if _, err := f.r.Discard(int(binary.BigEndian.Uint32(head[:]) >> 8)); err != nil || kind == 7 || id == stream && (kind == 3 || kind < 2 && flags&1 != 0) {
			return
		}
	}
}

// headerBlock has the fields of a text like ":path:/x|name:value".
func headerBlock(fields string) (block []byte) {
	fields = strings.NewReplacer("<CR>", "\r", "<LF>", "\n", "<NUL>", "\x00").Replace(fields)
	for field := range strings.SplitSeq(fields, "|") {
		colon := 1 + strings.Index(field[1:], ":")
		name, value := field[:colon], field[colon+1:]
		block = fmt.Appendf(block, "\x00%c%s%c%s", len(name), name, len(value), value) // never indexed
	}
	return block
}

// What HTTP/2 may have in a query ends it in the request line of HTTP/1.1.
func TestSpaceInTheQuery(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	for _, query := range []string{"a HTTP/1.0", " HTTP/0.9", "a=b c"} {
		answer := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/x", nil)
		r.URL.RawQuery = query
		if w.proxy.ServeHTTP(answer, r); answer.Code != http.StatusBadRequest || answer.Body.String() != "Bad Request\n" { // not that of an upstream in Go
			t.Errorf("%q: %d %q", query, answer.Code, answer.Body)
		}
	}
}

// What HTTP/2 can say and HTTP/1.1 cannot does not become another request on the
// way upstream.
func TestHTTP2Downgrade(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	const get = ":method:GET|:scheme:https|:authority:n1|:path:/x"
	const post = ":method:POST|:scheme:https|:authority:n1|:path:/x"
	const inner = "GET /evil HTTP/1.1\r\nHost: n1\r\n\r\n"
	for _, tt := range []struct {
		name, header, body string
		target             string // of the request that arrives
	}{
		{"a request", get, "", "/x"},
		{"a request with a body", post + "|content-length:3", "abc", "/x"},
		{"what must not pass", get + "|authorization:evil|x-remote-user:evil|x_remote_user:evil|impersonate-user:evil|http2-settings:evil", "", "/x"},
		{"encoded dots", ":method:GET|:scheme:https|:authority:n1|:path:/metrics/%2e%2e/evil", "", ""},
		{"dots", ":method:GET|:scheme:https|:authority:n1|:path:/metrics/../evil", "", ""},
		{"a fragment", ":method:GET|:scheme:https|:authority:n1|:path:/x#evil", "", ""},
		{"no slash", ":method:GET|:scheme:https|:authority:n1|:path:evil", "", ""},
		{"another host in the path", ":method:GET|:scheme:https|:authority:n1|:path:http://evil.example/x", "", "/x"},
		{"another host", ":method:GET|:scheme:https|:authority:evil.example|:path:/x|host:evil.example", "", "/x"},
		{"a space in the path", ":method:GET|:scheme:https|:authority:n1|:path:/x HTTP/1.1<CR><LF>X-Remote-User: evil", "", ""},
		{"a line end in the path", ":method:GET|:scheme:https|:authority:n1|:path:/x<CR><LF>evil", "", ""},
		{"a line end in the method", ":method:GET /evil HTTP/1.1<CR><LF>|:scheme:https|:authority:n1|:path:/x", "", ""},
		{"a line end in a value", get + "|x:a<CR><LF>x-remote-user: evil", "", ""},
		{"a bare LF in a value", get + "|x:a<LF>x-remote-user: evil", "", ""},
		{"a NUL in a value", get + "|x:a<NUL>evil", "", ""},
		{"a line end in a name", get + "|x<CR><LF>evil:a", "", ""},
		{"a space before a value", get + "|x-remote-user: evil|x:a", "", "/x"},
		{"capitals in a name", get + "|X-Remote-User:evil", "", ""},
		{"transfer-encoding", post + "|transfer-encoding:chunked", "0\r\n\r\n" + inner, ""},
		{"connection", get + "|connection:x-evil|x-evil:1", "", ""},
		{"upgrade", get + "|upgrade:h2c", "", ""},
		{"te", get + "|te:evil", "", ""},
		{"a body that is longer than it says", post + "|content-length:3", "abc" + inner, ""},
		{"a body that is shorter than it says", post + "|content-length:9", "abc", ""},
		{"two lengths", post + "|content-length:3|content-length:0", "abc", "/x"}, // the body ends where its stream does
		{"a body of a GET", get, inner, "/x"},
		{"two paths", get + "|:path:/evil", "", ""},
		{"a pseudo header that comes late", ":method:GET|:scheme:https|:authority:n1|x:y|:path:/evil", "", ""},
		{"CONNECT", ":method:CONNECT|:authority:evil.example:443", "", ""},
		{"RFC 8441, a WebSocket", ":method:CONNECT|:protocol:websocket|:scheme:https|:authority:n1|:path:/evil", "", ""},
	} {
		config := w.front.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.NextProtos = []string{"h2"}
		c, err := tls.Dial("tcp", w.front.Listener.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		f := frames{&conn{t, c, bufio.NewReader(c)}}
		io.WriteString(f, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		f.send(4, 0, 0, nil)
		last := byte(1) // of the stream, with whatever comes last
		if tt.body != "" {
			last = 0
		}
		f.send(1, 4|last, 1, headerBlock(tt.header))
		if tt.body != "" {
			f.send(0, 1, 1, []byte(tt.body))
		}
		f.ended(1)
		c.Close()
		requests, bodies := service.take()
		arrived := ""
		for _, r := range requests {
			arrived += r.RequestURI
			if strings.Contains(fmt.Sprint(r.Header, r.Host, r.Trailer), "evil") {
				t.Errorf("%s: the upstream saw %v", tt.name, r)
			}
		}
		if arrived != tt.target || tt.target != "" && bodies[0] != tt.body {
			t.Errorf("%s: %q %q arrived", tt.name, arrived, bodies)
		}
	}
}

// says is an upstream that answers each connection with the same bytes, whatever
// it is asked, and then with more for as long as it is read.
func says(t testing.TB, answer, more string) (url string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(2 * patience))
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				io.WriteString(c, answer)
				for more != "" {
					if _, err := io.WriteString(c, more); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// An upstream that is not what it should be harms its own answers alone.
func TestHostileUpstream(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
	long := strings.Repeat("x", 60<<10)
	for _, tt := range []struct {
		name, answer, more string
		code               int
		body               string
		hints              int
	}{
		{"nothing wrong", ok, "", 200, "good", 0},
		{"a header of too many bytes", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+long+"\r\n", 5) + "\r\n", "", 502, "Bad Gateway\n", 0},
		{"a header of many bytes", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+long+"\r\n", 3) + "Content-Length: 4\r\n\r\ngood", "", 200, "good", 0},
		{"a header without end", "HTTP/1.1 200 OK\r\n", "X-A: " + long + "\r\n", 502, "Bad Gateway\n", 0},
		{"a line without end", "HTTP/1.1 200 OK\r\nX-A: ", long, 502, "Bad Gateway\n", 0},
		{"early hints", hint + hint + ok, "", 200, "good", 2},
		{"golang/go#81320, early hints with hop-by-hop headers", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: X-Evil\r\nX-Evil: 1\r\nKeep-Alive: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + ok, "", 200, "good", 1},
		{"more early hints than anyone needs", strings.Repeat(hint, 1000) + ok, "", 200, "good", 5},
		{"early hints without end", hint, hint, 504, "Gateway Timeout\n", 5},
		{"100 that nobody waits for", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000) + ok, "", 200, "good", 0},
		{"CVE-2018-1002105, 101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "", 502, "Bad Gateway\n", 0},
		{"101 after early hints", hint + "HTTP/1.1 101 Switching Protocols\r\n\r\n", "", 502, "Bad Gateway\n", 1},
		{"a status below 100", "HTTP/1.1 099 Nothing\r\nContent-Length: 4\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"a status of 0", "HTTP/1.1 000 Nothing\r\nContent-Length: 4\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"a negative status", "HTTP/1.1 -99 Nothing\r\nContent-Length: 4\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"a status that is not known", "HTTP/1.1 999 OK\r\nContent-Length: 4\r\n\r\ngood", "", 999, "good", 0},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"CVE-2022-1705, an encoding that is not known", "HTTP/1.1 200 OK\r\nTransfer-Encoding: evil\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n", "", 200, "good", 0},
		{"a line end in a header", "HTTP/1.1 200 OK\r\nX: a\rX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil", "", 502, "Bad Gateway\n", 0},
		{"a header that is none", "HTTP/1.1 200 OK\r\nevil\r\n\r\n", "", 502, "Bad Gateway\n", 0},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n", "", 502, "Bad Gateway\n", 0},
		{"HTTP/0.9", "evil", "", 502, "Bad Gateway\n", 0},
		{"nothing at all", "", "", 502, "Bad Gateway\n", 0},
		{"CVE-2020-8559, a redirect", "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 4\r\n\r\ngood", "", 307, "good", 0},
		{"another's word for what was decided", "HTTP/1.1 200 OK\r\nAudit-Id: evil\r\nContent-Length: 4\r\n\r\ngood", "", 200, "good", 0},
		{"another's word, before early hints", "HTTP/1.1 103 Early Hints\r\nAudit-Id: evil\r\n\r\n" + ok, "", 200, "good", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, upstream.Config{URL: says(t, tt.answer, tt.more), Timeout: time.Second}, nil)
			w.front = serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Audit-Id", "ours")
				w.proxy.ServeHTTP(rw, r)
			}), func(s *http.Server) {
				s.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(failing{t}, nil), slog.LevelError)
			})
			for _, proto := range bothVersions {
				hints := 0
				r, _ := http.NewRequest("GET", w.front.URL+"/x", nil)
				r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
					hints++
					if h.Del("Link"); len(h) > 0 {
						t.Errorf("%s: an early hint has %v", proto, h)
					}
					return nil
				}}))
				client := w.client(proto)
				client.Transport.(*http.Transport).MaxResponseHeaderBytes = 1 << 20
				res, body := w.do(client, r)
				if res.StatusCode != tt.code || body != tt.body || hints != tt.hints {
					t.Errorf("%s: %d %.80q, after %d hints", proto, res.StatusCode, body, hints)
				}
				if res.Header["X-Evil"] != nil || !slices.Equal(res.Header["Audit-Id"], []string{"ours"}) {
					t.Errorf("%s: the header is %.300v", proto, res.Header)
				}
			}
			if log := w.log.String(); strings.Contains(log, "panic") || tt.code >= 502 && tt.code < 600 && !strings.Contains(log, "ERROR") || len(log) > 8<<10 {
				t.Errorf("%d bytes of log: %.500s", len(log), log)
			}
		})
	}
}

// HTTP/1.0 knows no early hints: its clients would take one for the answer.
func TestEarlyHintsForAnOldClient(t *testing.T) {
	w := newWorld(t, upstream.Config{URL: says(t, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood", "")}, nil)
	if res, body := w.raw("GET /x HTTP/1.0\r\nHost: n1\r\n\r\n"); res.StatusCode != 200 || body != "good" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

// What the filter in front says of a request stays in the answer to an upgrade
// too, and stays the only word.
func TestAuditIDOfATunnel(t *testing.T) {
	service := &switcher{recorder: new(recorder)}
	w := newWorld(t, upstream.Config{}, service)
	w.front = serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Audit-Id", "ours")
		w.proxy.ServeHTTP(rw, r)
	}))
	c := w.dial()
	io.WriteString(c, "GET /exec HTTP/1.1\r\nHost: n1\r\nX-Answer: 101 Switching Protocols|Upgrade: websocket|Connection: Upgrade|Audit-Id: evil\r\n"+upgradeHead+"websocket\r\n\r\n")
	if res, _ := c.response("GET"); res.StatusCode != 101 || !slices.Equal(res.Header["Audit-Id"], []string{"ours"}) {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	c.echo("x")
}

// A request to switch protocols that has a body is one like any other: its body
// would be read by two at once, as the request's and as the tunnel's.
func TestNoUpgradeWithABody(t *testing.T) {
	service := &switcher{recorder: new(recorder)}
	w := newWorld(t, upstream.Config{}, service)
	for _, tt := range []struct{ head, body string }{
		{"Content-Length: 5", "hello"},
		{"Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"},
		{"Content-Length: 5\r\nExpect: 100-continue", "hello"},
	} {
		c := w.dial()
		io.WriteString(c, "POST /exec HTTP/1.1\r\nHost: n1\r\n"+upgradeHead+"SPDY/3.1\r\n"+tt.head+"\r\n\r\n"+tt.body)
		res, body := c.response("POST")
		if res.StatusCode == 100 {
			res, body = c.response("POST")
		}
		requests, bodies := service.take()
		if res.StatusCode != 200 || len(requests) != 1 || bodies[0] != "hello" || requests[0].Header["Upgrade"] != nil {
			t.Errorf("%q: %d %q, the upstream saw %v %q", tt.head, res.StatusCode, body, requests, bodies)
		}
	}
}
