package kubeletapi

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Requests as no client would write them. What net/http or the filter cannot
// make one sense of is refused, and then the connection ends; what passes was
// allowed as the handler sees it.
func TestWire(t *testing.T) {
	k := newKeep(t)
	address := serveRows(t, k.server)
	const stats, root = "jane get stats /stats", "root get proxy "
	for _, tt := range []struct{ name, sent, want string }{
		// Framing: where one request ends and the next begins.
		{"two in one", "GET /stats JANE\nGET /x ROOT\n", "200 200|" + stats + "|" + root + "/x"},
		{"the second has no credential", "GET /stats JANE\nGET /stats ANON\n", "200 401|" + stats},
		{"length, then a request in the body", "POST /x ROOTContent-Length: 31\n\nGET /x HTTP/1.1\nHost: n\n\nx\nGET /stats ANON\n", "200 401|root create proxy /x"},
		{"length and chunks", "POST /x ROOTContent-Length: 4\nTransfer-Encoding: chunked\n\n0\n\nGET /exec ANON\n", "200 401|root create proxy /x"},
		{"chunks and length", "POST /x ROOTTransfer-Encoding: chunked\nContent-Length: 4\n\n1c\nGET /x HTTP/1.1\nHost: n\n\nxx\n0\n\n", "200|root create proxy /x"},
		{"two lengths", "POST /x ROOTContent-Length: 4\nContent-Length: 5\n\nabcdGET /x ROOT\n", "400"},
		{"two equal lengths", "POST /x ROOTContent-Length: 4\nContent-Length: 4\n\nabcdGET /x ROOT\n", "200 200|root create proxy /x|" + root + "/x"},
		{"lengths with a comma", "POST /x ROOTContent-Length: 4, 5\n\nabcd", "400"},
		{"negative length", "POST /x ROOTContent-Length: -1\n\n", "400"},
		{"signed length", "POST /x ROOTContent-Length: +4\n\nabcd", "400"},
		{"hexadecimal length", "POST /x ROOTContent-Length: 0x4\n\nabcd", "400"},
		{"empty length", "POST /x ROOTContent-Length:\n\n", "400"},
		{"overflowing length", "POST /x ROOTContent-Length: 18446744073709551620\n\nabcd", "400"},
		{"two encodings", "POST /x ROOTTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n", "501"},
		{"encoding list", "POST /x ROOTTransfer-Encoding: gzip, chunked\n\n0\n\n", "501"},
		{"identity", "POST /x ROOTTransfer-Encoding: identity\nContent-Length: 0\n\n", "501"},
		{"encoding in quotes", "POST /x ROOTTransfer-Encoding: \"chunked\"\n\n0\n\n", "501"},
		{"encoding with a vertical tab", "POST /x ROOTTransfer-Encoding: \vchunked\n\n0\n\n", "400"},
		{"encoding after a tab", "POST /x ROOTTransfer-Encoding:\tchunked\n\n0\n\nGET /x ROOT\n", "200 200|root create proxy /x|" + root + "/x"},
		{"space before the colon", "POST /x ROOTTransfer-Encoding : chunked\n\n0\n\n", "400"},
		{"space before the name", "GET /stats JANEX: y\n Content-Length: 30\n\n", "200|" + stats},
		{"folded authorization", "GET /x HTTP/1.1\nHost: n\nAuthorization:\n Bearer token-of-root\n\n", "200|" + root + "/x"},
		{"folded first line", "GET /x HTTP/1.1\n Authorization: Bearer token-of-root\nHost: n\n\n", "400"},
		{"encoding in HTTP/1.0", "POST /x HTTP/1.0\nAuthorization: Bearer token-of-root\nTransfer-Encoding: chunked\n\n0\n\nGET /x ROOT\n", "200|root create proxy /x"},
		{"encoding in HTTP/1.0, kept alive", "POST /x HTTP/1.0\nConnection: keep-alive\nAuthorization: Bearer token-of-root\nTransfer-Encoding: chunked\n\n0\n\nGET /x ROOT\n", "200 400|root create proxy /x"},
		{"chunk size with a sign", "POST /x ROOTTransfer-Encoding: chunked\n\n+0\n\nGET /x ROOT\n", "200|root create proxy /x"},
		{"chunk size in bare LF", "POST /x ROOTTransfer-Encoding: chunked\n\n0;x␊\nGET /x ROOT\n", "200|root create proxy /x"},
		{"chunk longer than said", "POST /x ROOTTransfer-Encoding: chunked\n\n1\nabc\n0\n\nGET /x ROOT\n", "200|root create proxy /x"},
		{"endless chunk size", "POST /x ROOTTransfer-Encoding: chunked\n\n" + strings.Repeat("0", 64) + "\n\nGET /x ROOT\n", "200|root create proxy /x"},
		{"bare LF", "GET /stats HTTP/1.1␊Host: n␊Authorization: Bearer token-of-jane␊␊", "200|" + stats},
		{"bare CR in a value", "GET /stats JANEX: a␍Authorization: Bearer token-of-root\n\n", "400"},
		{"bare CR in the first line", "GET /stats␍ HTTP/1.1\nHost: n\n\n", "400"},
		{"NUL in a value", "GET /stats JANEX: \x00\n\n", "400"},
		{"NUL in a name", "GET /stats JANEX\x00: y\n\n", "400"},
		{"upgrade with a body", "POST /x ROOTConnection: Upgrade\nUpgrade: websocket\nContent-Length: 22\n\nGET /x HTTP/1.1\nHost:GET /stats ANON\n", "200 401|root create proxy /x"},
		{"upgrade to h2c", "GET /stats JANEConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__\n\nPRI * HTTP/2.0\n\nSM\n\n", "200 400|" + stats},
		{"HTTP/2 preface", "PRI * HTTP/2.0\n\nSM\n\n", "400"},
		{"expect", "POST /x ANONExpect: 100-continue\nContent-Length: 9\n\nGET /x RO", "401"},
		{"expect something else", "POST /x ROOTExpect: 200-ok\n\n", "417"},

		// The first line.
		{"lower-case method", "get /stats JANE\n", "403"},
		{"method with a space", "GET  /stats JANE\n", "400"},
		{"target with a space", "GET /stats /x JANE\n", "400"},
		{"target with a tab", "GET /stats\t/x JANE\n", "400"},
		{"no target", "GET JANE\n", "400"},
		{"empty method", " /stats JANE\n", "400"},
		{"method with a colon", "GET: /stats JANE\n", "400"},
		{"unknown method", "PROPFIND /stats JANE\n", "403"},
		{"unknown method, allowed", "PROPFIND /stats ROOT\n", "200|root  stats /stats"},
		{"HTTP/1.2", "GET /stats HTTP/1.2\nHost: n\n\n", "401"},
		{"HTTP/3", "GET /stats HTTP/3.0\nHost: n\n\n", "505"},
		{"HTTP/0.9", "GET /stats\n", "400"},
		{"HTTP/1.0 without a Host", "GET /stats HTTP/1.0\nAuthorization: Bearer token-of-jane\n\n", "200|" + stats},
		{"no Host", "GET /stats HTTP/1.1\nAuthorization: Bearer token-of-jane\n\n", "400"},
		{"two Hosts", "GET /stats JANEHost: m\n\n", "400"},
		{"Host with a slash", "GET /stats HTTP/1.1\nHost: n/../x\nAuthorization: Bearer token-of-jane\n\n", "400"},
		{"Host with a user", "GET /stats HTTP/1.1\nHost: a:b@n\nAuthorization: Bearer token-of-jane\n\n", "400"},

		// The target.
		{"absolute", "GET https://m/stats JANE\n", "200|" + stats},
		{"absolute to elsewhere", "GET https://m/exec JANE\n", "403"},
		{"absolute with a user", "GET https://root:token-of-root@m/x JANE\n", "403"},
		{"absolute without a path", "GET https://m JANE\n", "307"},
		{"absolute with dots", "GET https://m/stats/../exec JANE\n", "307"},
		{"opaque", "GET https:stats JANE\n", "307"},
		{"opaque with dots", "GET x:/stats/../exec JANE\n", "307"},
		{"authority", "GET m:443 JANE\n", "307"},
		{"no slash", "GET stats JANE\n", "400"},
		{"dots first", "GET ../stats JANE\n", "400"},
		{"star", "OPTIONS * ROOT\n", "400"},
		{"star of another method", "GET * ROOT\n", "400"},
		{"star below", "OPTIONS /* ROOT\n", "200|root  proxy /*"},
		{"CONNECT", "CONNECT n:10250 JANE\n", "403"},
		{"CONNECT, allowed", "CONNECT n:10250 ROOT\n", "200|root  proxy "},
		{"CONNECT of a path", "CONNECT /stats JANE\n", "403"},
		{"CONNECT past dots", "CONNECT /stats/../exec ROOT\n", "400"},
		{"CONNECT of a host and a path", "CONNECT n/stats/../x ROOT\n", "400"},
		{"CONNECT and anonymous", "CONNECT /metrics ANON\n", "403"},
		{"HEAD and anonymous", "HEAD /metrics ANON\n", "200|system:anonymous get metrics /metrics"},
		{"POST and anonymous", "POST /metrics ANON\n", "403"},
		{"fragment", "GET /stats#/../exec JANE\n", "307"},
		{"fragment without dots", "GET /stats#x JANE\n", "403"},
		{"query", "GET /stats?/../../exec JANE\n", "200|" + stats},
		{"encoded query sign", "GET /exec%3f/stats JANE\n", "403"},
		{"two query signs", "GET /stats??#/exec JANE\n", "200|" + stats},
		{"encoded dots", "GET /stats/%2e%2e/exec JANE\n", "400"},
		{"encoded dots, of root", "GET /stats/%2E%2e/exec ROOT\n", "400"},
		{"encoded slash", "GET /stats%2f..%2fexec ROOT\n", "400"},
		{"encoded backslash", "GET /stats%5c..%5cexec ROOT\n", "400"},
		{"backslash", `GET /stats\..\exec ROOT` + "\n", "400"},
		{"NUL", "GET /stats%00/exec ROOT\n", "400"},
		{"half an escape", "GET /stats%2 ROOT\n", "400"},
		{"no escape", "GET /stats%zz ROOT\n", "400"},
		{"IIS escape", "GET /stats/%u002e%u002e/exec ROOT\n", "400"},
		{"encoded twice", "GET /stats/%252e%252e/exec JANE\n", "200|jane get stats /stats/%2e%2e/exec"},
		{"overlong dots", "GET /stats/%c0%ae%c0%ae/exec JANE\n", "200|jane get stats /stats/\xc0\xae\xc0\xae/exec"},
		{"overlong slash", "GET /stats%c0%af..%c0%afexec JANE\n", "403"},
		{"raw bytes", "GET /stats/\xff JANE\n", "200|jane get stats /stats/\xff"},
		{"full-width dots", "GET /stats/．．/exec JANE\n", "200|jane get stats /stats/．．/exec"},
		{"dots with a parameter", "GET /stats/..;/exec JANE\n", "200|jane get stats /stats/..;/exec"}, // not to package upstream
		{"encoded dots with a parameter", "GET /stats/%2e%2e;/exec JANE\n", "200|jane get stats /stats/..;/exec"},
		{"parameter", "GET /stats;a=b/x JANE\n", "403"},
		{"parameter further down", "GET /stats/x;a=b JANE\n", "200|jane get stats /stats/x;a=b"},
		{"three dots", "GET /stats/.../x JANE\n", "200|jane get stats /stats/.../x"},
		{"line end in the path", "GET /stats/%0d%0aX:%20y JANE\n", "200|jane get stats /stats/\r\nX: y"},
		{"two slashes", "GET //stats JANE\n", "307"},
		{"two slashes of anonymous", "GET //metrics ANON\n", "307"},
		{"two slashes and a host", "GET //evil.example/%2e%2e ROOT\n", "400"},
		{"upper case", "GET /STATS JANE\n", "403"},
		{"a longer word", "GET /statsx JANE\n", "403"},
		{"a path that is for anonymous", "GET /metrics ANON\n", "200|system:anonymous get metrics /metrics"},
		{"encoded, for anonymous", "GET /%6detrics ANON\n", "200|system:anonymous get metrics /metrics"},
		{"below what is for anonymous", "GET /metrics/ ANON\n", "401"},
		{"anonymous with parameters", "GET /metrics;/x ANON\n", "401"},

		// The credential.
		{"tab for the space", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer\ttoken-of-jane\n\n", "401"},
		{"no-break space", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer\u00a0token-of-jane\n\n", "401"},
		{"no-break space before it", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer \u00a0token-of-jane\n\n", "401"},
		{"no-break space around", "GET /stats HTTP/1.1\nHost: n\nAuthorization: \u00a0Bearer token-of-jane\u00a0\n\n", "200|" + stats},
		{"two spaces", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer  token-of-jane\n\n", "401"},
		{"upper case scheme", "GET /stats HTTP/1.1\nHost: n\nAUTHORIZATION: BEARER token-of-jane\n\n", "200|" + stats},
		{"scheme with a Kelvin sign", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bea\u212aer token-of-jane\n\n", "401"},
		{"no scheme", "GET /stats HTTP/1.1\nHost: n\nAuthorization: token-of-jane\n\n", "401"},
		{"two schemes", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Basic eA==, Bearer token-of-jane\n\n", "401"},
		{"two tokens with a comma", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer token-of-jane, Bearer token-of-root\n\n", "401"},
		{"two tokens with a space", "GET /x HTTP/1.1\nHost: n\nAuthorization: Bearer token-of-jane token-of-root\n\n", "403"},
		{"the first header counts", "GET /x JANEAuthorization: Bearer token-of-root\n\n", "403"},
		{"another scheme first", "GET /x HTTP/1.1\nHost: n\nAuthorization: Basic eA==\nAuthorization: Bearer token-of-root\n\n", "401"},
		{"an empty one first", "GET /x HTTP/1.1\nHost: n\nAuthorization:\nAuthorization: Bearer token-of-root\n\n", "401"},
		{"a bad one is not anonymous", "GET /metrics HTTP/1.1\nHost: n\nAuthorization: Bearer x\n\n", "401"},
		{"an underscore", "GET /stats HTTP/1.1\nHost: n\nAuthorization_: Bearer token-of-jane\n\n", "401"},
		{"of a proxy", "GET /stats HTTP/1.1\nHost: n\nProxy-Authorization: Bearer token-of-jane\n\n", "401"},
		{"in the query", "GET /stats?access_token=token-of-jane ANON\n", "401"},
		{"in a cookie", "GET /stats ANONCookie: Authorization=Bearer token-of-jane\n\n", "401"},
		{"in a trailer", "POST /x ANONTransfer-Encoding: chunked\nTrailer: Authorization\n\n0\nAuthorization: Bearer token-of-root\n\n", "401"},
		{"another in a trailer", "POST /x ROOTTransfer-Encoding: chunked\nTrailer: Authorization\n\n0\nAuthorization: Bearer token-of-jane\n\n", "200|root create proxy /x"},
		{"hop-by-hop", "GET /stats JANEConnection: Authorization\n\n", "200|" + stats},
		{"hop-by-hop, none", "GET /metrics HTTP/1.1\nHost: n\nConnection: Authorization\nAuthorization: Bearer x\n\n", "401"},
		{"said by a proxy", "GET /x ANONX-Remote-User: root\nX-Forwarded-User: root\nImpersonate-User: root\nX-Forwarded-Client-Cert: CN=root\n\n", "401"},
		{"another path, said by a proxy", "GET /stats JANEX-Original-URL: /exec\nX-Rewrite-URL: /exec\nX-HTTP-Method-Override: DELETE\n\n", "200|" + stats},
		{"nearly too long", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer " + strings.Repeat("x", 16<<10) + "\n\n", "401"},
		{"too long", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer " + strings.Repeat("x", 69<<10) + "\n\n", "431"},
		{"not UTF-8", "GET /stats HTTP/1.1\nHost: n\nAuthorization: Bearer token-of-jane\xff\n\n", "401"},

		// The credential of a WebSocket: dG9rZW4tb2Ytcm9vdA is token-of-root.
		{"WebSocket", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: TOKEN, v4\n\n", "200|" + root + "/x"},
		{"no upgrade", "GET /x ANONSec-WebSocket-Protocol: TOKEN, v4\n\n", "401"},
		{"no connection", "GET /x ANONUpgrade: websocket\nSec-WebSocket-Protocol: TOKEN, v4\n\n", "401"},
		{"another upgrade first", "GET /x ANONUpgrade: h2c\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: TOKEN, v4\n\n", "401"},
		{"a list of upgrades", "GET /x ANONUpgrade: websocket, h2c\nConnection: Upgrade\nSec-WebSocket-Protocol: TOKEN, v4\n\n", "401"},
		{"alone", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: TOKEN\n\n", "401"},
		{"on two lines", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: v4\nSec-WebSocket-Protocol: TOKEN\n\n", "200|" + root + "/x"},
		{"twice", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: TOKEN, TOKEN, v4\n\n", "401"},
		{"padded", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: TOKEN==, v4\n\n", "401"},
		{"loose bits", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.dG9rZW4tb2Ytcm9vdB, v4\n\n", "200|" + root + "/x"},
		{"quoted", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: \"TOKEN\", v4\n\n", "401"},
		{"upper case prefix", "GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: BASE64URL.bearer.authorization.k8s.io.dG9rZW4tb2Ytcm9vdA, v4\n\n", "401"},
		{"bad, beside a good header", "GET /stats JANEUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.!, v4\n\n", "200|" + stats},
		{"good, beside a bad header", "GET /x HTTP/1.1\nHost: n\nAuthorization: Bearer x\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: TOKEN, v4\n\n", "200|" + root + "/x"},
		{"the same as in a good header", "GET /x ROOTUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: v4, TOKEN\n\n", "200|" + root + "/x"},
		{"bad, anonymous", "GET /metrics ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.eA, v4\n\n", "401"},
		{"empty, anonymous", "GET /metrics ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io., v4\n\n", "200|system:anonymous get metrics /metrics"},

		// The slot of a connection.
		{"another token", "GET /x ROOT\nGET /x JANE\nGET /stats JANE\nGET /x ROOT\n", "200 403 200 200|" + root + "/x|" + stats + "|" + root + "/x"},
		{"nearly the same token", "GET /x ROOT\nGET /x HTTP/1.1\nHost: n\nAuthorization: Bearer token-of-roo\n\n", "200 401|" + root + "/x"},
		{"no token any more", "GET /x ROOT\nGET /x ANON\nGET /metrics ANON\n", "200 401 200|" + root + "/x|system:anonymous get metrics /metrics"},
		{"the same token, another verb", "GET /stats JANE\nDELETE /stats JANE\nGET /stats JANE\n", "200 403 200|" + stats + "|" + stats},
	} {
		if got := wire(t, address, tt.sent, len(strings.Fields(strings.Split(tt.want, "|")[0]))) + tail(k.saw()); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func tail(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "|" + strings.Join(list, "|")
}

// onTheWire spells rows out: ␊ and ␍ are bare.
var onTheWire = strings.NewReplacer(
	"\n", "\r\n", "␊", "\n", "␍", "\r",
	"ANON", "HTTP/1.1\r\nHost: n\r\n",
	"JANE", "HTTP/1.1\r\nHost: n\r\nAuthorization: Bearer "+janesToken+"\r\n",
	"ROOT", "HTTP/1.1\r\nHost: n\r\nAuthorization: Bearer "+rootsToken+"\r\n",
	"TOKEN", "base64url.bearer.authorization.k8s.io.dG9rZW4tb2Ytcm9vdA",
)

// wire sends a row on a connection of its own, and returns the codes of the
// answers: those that are wanted and, once the client has stopped, the others.
func wire(t *testing.T, address, row string, answers int) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, DynamicRecordSizingDisabled: true}) // so that all is read, whatever is refused
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(conn, onTheWire.Replace(row)) // the server may have closed it by now
	method, _, _ := strings.Cut(row, " ")
	var codes []string
	for from := bufio.NewReader(conn); ; {
		if len(codes) == answers {
			conn.CloseWrite()
		}
		r, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) && errors.As(err, new(net.Error)) {
				return fmt.Sprint(strings.Join(codes, " "), " and ", err)
			}
			return strings.Join(codes, " ")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || bytes.Contains(body, []byte("token-of")) || slices.ContainsFunc(r.Header["Location"], func(l string) bool { return strings.Contains(l, "token-of") }) {
			t.Errorf("%.100q: %v, %q, %v", row, r.Header, body, err)
		}
		codes = append(codes, fmt.Sprint(r.StatusCode))
	}
}
