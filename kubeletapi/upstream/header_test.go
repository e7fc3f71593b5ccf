package upstream_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/upstream"
)

const secret = "s3cr3t-of-mallory"

// secretProtocol is a WebSocket protocol that is a token.
var secretProtocol = "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(secret))

// Of no such header does anything arrive, whatever the Connection header says,
// with and without identity headers, over both versions of HTTP.
func TestHeadersThatDoNotPass(t *testing.T) {
	plain, identity := new(recorder), new(recorder)
	worlds := map[*recorder]*world{
		plain:    newWorld(t, upstream.Config{}, plain),
		identity: newWorld(t, upstream.Config{IdentityHeaders: true}, identity),
	}
	names := []string{
		"Authorization", "authorization", "AUTHORIZATION", "Proxy-Authorization", "Proxy_Authorization", "Proxy",
		"X-Remote-User", "x-remote-user", "X_Remote_User", "X-Remote_User", "X_REMOTE_USER", "X.Remote.User", "X~Remote!User", "X-Remote-Group", "X-Remote-Uid",
		"X-Remote-Extra-Scopes", "X_Remote_Extra_Scopes", "X-Remote-Anything", "X-Remote-",
		"X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Uri", "X-Forwarded-User", "X-Forwarded-Access-Token", "X-Forwarded-Client-Cert", "X-Forwarded", "X-ForwardedFor", "Forwarded", "X-Real-Ip", "X_Real_IP",
		"Impersonate-User", "Impersonate_User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-Scopes",
		"X-Http-Method-Override", "X_HTTP_METHOD_OVERRIDE", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url", "X-Original-Uri",
		"Http2-Settings", "Keep-Alive", "Proxy-Connection", "Te", "Sec_WebSocket_Protocol", "Upgrade",
	}
	for service, w := range worlds {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			client := w.client(proto)
			for _, name := range names {
				for _, connection := range []string{"", name, "keep-alive, X-Remote-User, X-Remote-Group", "close", "X-Remote-Extra-example.org%2fteam"} {
					if proto == "HTTP/2.0" && (connection != "" || slices.Contains([]string{"Upgrade", "Keep-Alive", "Proxy-Connection", "Te"}, name)) {
						continue // there is no such thing
					}
					r, _ := http.NewRequest("GET", w.front.URL+"/x", nil)
					r.Header[name] = []string{secret}
					r.Header["X-Passes"] = []string{"yes"}
					if connection != "" {
						r.Header["Connection"] = []string{connection}
					}
					res, body := w.do(client, r)
					requests, _ := service.take()
					if res.StatusCode != 200 || len(requests) != 1 {
						t.Fatal(proto, name, res.Status, body)
					}
					h := requests[0].Header
					if strings.Contains(fmt.Sprint(h), secret) || h.Get("X-Passes") != "yes" {
						t.Errorf("%s, %s, Connection %q: the upstream saw %v", proto, name, connection, h)
					}
					if service == identity {
						checkJane(t, h)
					}
				}
			}
		}
	}
}

func checkJane(t *testing.T, h http.Header) {
	t.Helper()
	got := http.Header{}
	for name, values := range h {
		if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-remote") {
			got[name] = values
		}
	}
	want := http.Header{"X-Remote-User": {"jane"}, "X-Remote-Uid": {"7"}, "X-Remote-Group": {"dev", "system:authenticated"}, "X-Remote-Extra-Example.org%2fteam": {"a", "b"}}
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("the identity is %v, want %v", got, want)
	}
}

// What an upstream has a use for passes, with all its values.
func TestHeadersThatPass(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	for _, name := range []string{"Accept", "Accept-Encoding", "Cookie", "Range", "If-None-Match", "User-Agent", "Origin", "X-Request-Id", "Traceparent", "X_custom", "My.key", "X-Remotely", "X-Real", "Authorizations", "Proxy-Status", "Grpc-Timeout", "Sec-Websocket-Key"} {
		r, _ := http.NewRequest("GET", w.front.URL+"/x", nil)
		r.Header[name] = []string{"one", "two"}
		if name == "User-Agent" {
			r.Header[name] = []string{"one"}
		}
		w.do(w.client("HTTP/1.1"), r)
		if requests, _ := service.take(); len(requests) != 1 || !slices.Equal(requests[0].Header[http.CanonicalHeaderKey(name)], r.Header[name]) {
			t.Errorf("%s: the upstream saw %v", name, requests[0].Header)
		}
	}
	w.raw("GET /x HTTP/1.1\r\nHost: n1\r\n\r\n")
	if requests, _ := service.take(); len(requests[0].Header) != 0 {
		t.Errorf("of no header, the upstream saw %v", requests[0].Header)
	}
}

// Tokens among WebSocket protocols do not pass, however many there are.
func TestWebSocketTokens(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{}, service)
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{[]string{"v4.channel.k8s.io"}, "v4.channel.k8s.io"},
		{[]string{secretProtocol + ", v4.channel.k8s.io"}, "v4.channel.k8s.io"},
		{[]string{"v4.channel.k8s.io, " + secretProtocol + ", v5.channel.k8s.io"}, "v4.channel.k8s.io, v5.channel.k8s.io"},
		{[]string{"a," + secretProtocol, secretProtocol, "b"}, "a,b"},
		{[]string{secretProtocol}, ""},
		{[]string{"  \t" + secretProtocol + " ", "a"}, "a"},
		{[]string{strings.ToUpper(secretProtocol[:38]) + secretProtocol[38:] + ",a"}, "a"},
		{[]string{secretProtocol + "=!not base64,a"}, "a"},
	} {
		for _, upgrade := range []string{"Upgrade: websocket\r\nConnection: Upgrade\r\n", ""} {
			head := "GET /x HTTP/1.1\r\nHost: n1\r\n" + upgrade
			for _, line := range tt.lines {
				head += "Sec-WebSocket-Protocol: " + line + "\r\n"
			}
			w.raw(head + "\r\n")
			requests, _ := service.take()
			if len(requests) != 1 {
				t.Fatalf("%q: not passed on", head)
			}
			if got := strings.Join(requests[0].Header["Sec-Websocket-Protocol"], ","); strings.ReplaceAll(got, ", ", ",") != strings.ReplaceAll(tt.want, ", ", ",") || strings.Contains(fmt.Sprint(requests[0].Header), secretProtocol[50:]) {
				t.Errorf("%q: %q, want %q", tt.lines, got, tt.want)
			}
		}
	}
}

// Behind a filter that really looks at credentials, none of them arrives, nor
// stands in the log: not the one that was accepted, and no other.
func TestCredentialsStayHere(t *testing.T) {
	service, log := new(recorder), new(buffer)
	w := newWorld(t, upstream.Config{IdentityHeaders: true, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, service)
	auth, err := kubeletapi.New(kubeletapi.Config{AnonymousAuth: true, AuthenticationTokenWebhook: true, TokenReviewer: reviewer{}, AuthorizationMode: kubeletapi.ModeAlwaysAllow, HostnameOverride: "n1", Logger: w.cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	w.front = serve(t, auth.Handler(w.proxy))
	const socket = "GET /x HTTP/1.1\r\nHost: n1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: a, "
	for name, tt := range map[string]struct{ head, user string }{
		"none":                {"GET /x HTTP/1.1\r\nHost: n1\r\n", authn.UserAnonymous},
		"header":              {"GET /x HTTP/1.1\r\nHost: n1\r\nAuthorization: Bearer " + secret + "\r\n", "jane"},
		"two headers":         {"GET /x HTTP/1.1\r\nHost: n1\r\nAuthorization: Bearer " + secret + "\r\nAuthorization: Basic " + secret + "\r\n", "jane"},
		"another scheme":      {"GET /x HTTP/1.1\r\nHost: n1\r\nAuthorization: Basic " + secret + "\r\n", authn.UserAnonymous},
		"protocol":            {socket + secretProtocol + "\r\n", "jane"},
		"protocol and header": {socket + secretProtocol + "\r\nAuthorization: Bearer " + secret + "\r\n", "jane"},
		"protocol, no socket": {"GET /x HTTP/1.1\r\nHost: n1\r\nSec-WebSocket-Protocol: a, " + secretProtocol + "\r\n", authn.UserAnonymous},
	} {
		res, body := w.raw(tt.head + "\r\n")
		requests, _ := service.take()
		if res.StatusCode != 200 || len(requests) != 1 {
			t.Errorf("%s: %d %q", name, res.StatusCode, body)
			continue
		}
		h := fmt.Sprint(requests[0].Header)
		if strings.Contains(h, secret) || strings.Contains(h, secretProtocol) || requests[0].Header.Get("X-Remote-User") != tt.user {
			t.Errorf("%s: the upstream saw %s", name, h)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the log has a token:", log)
	}
}

// A trailer is a header that comes late.
func TestTrailersThatDoNotPass(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{IdentityHeaders: true}, service)
	for _, tt := range []struct {
		announced, sent string
		want            http.Header
	}{
		{"X-Sum", "X-Sum: 1", http.Header{"X-Sum": {"1"}}},
		{"X-Sum", "X-Sum: 1\r\nX-Sum: 2", http.Header{"X-Sum": {"1", "2"}}},
		{"X-Sum", "X-Sum: 1\r\nX-Remote-User: root", http.Header{"X-Sum": {"1"}}},
		{"X-Sum", "X-Sum: 1\r\nAuthorization: " + secret + "\r\nX-Other: 3", http.Header{"X-Sum": {"1"}}},
		{"X-Sum, X-Remote-User, x_remote_user", "X-Sum: 1\r\nX-Remote-User: root\r\nX_Remote_User: root", http.Header{"X-Sum": {"1"}}},
		{"X-Remote-User", "X-Remote-User: root", nil},
		{"Authorization, Impersonate-User", "Authorization: " + secret + "\r\nImpersonate-User: root", nil},
		{"", "X-Remote-User: root", nil},
		{"X-Sum", "", http.Header{"X-Sum": nil}},
	} {
		head := "POST /x HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n"
		if tt.announced != "" {
			head += "Trailer: " + tt.announced + "\r\n"
		}
		if tt.sent != "" {
			tt.sent += "\r\n"
		}
		res, body := w.raw(head + "\r\n3\r\nabc\r\n0\r\n" + tt.sent + "\r\n")
		requests, bodies := service.take()
		if res.StatusCode != 200 || len(requests) != 1 || bodies[0] != "abc" {
			t.Errorf("%q, %q: %d %q", tt.announced, tt.sent, res.StatusCode, body)
			continue
		}
		if got := requests[0].Trailer; !maps.EqualFunc(got, tt.want, slices.Equal[[]string]) {
			t.Errorf("%q, %q: the upstream saw the trailer %v, want %v", tt.announced, tt.sent, got, tt.want)
		}
		checkJane(t, requests[0].Header)
	}
}

// An identity arrives unchanged, or the request does not.
func TestIdentity(t *testing.T) {
	service := new(recorder)
	w := newWorld(t, upstream.Config{IdentityHeaders: true}, service)
	for name, tt := range map[string]struct {
		user *authn.UserInfo
		code int
	}{
		"nobody":                    {nil, 502},
		"no name":                   {&authn.UserInfo{UID: "7"}, 502},
		"a name":                    {&authn.UserInfo{Username: "jane"}, 200},
		"everything":                {&jane, 200},
		"service account":           {&authn.UserInfo{Username: "system:serviceaccount:a:b", Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=x"}}}, 200},
		"names of directories":      {&authn.UserInfo{Username: "cn=jane doe,ou=x", Groups: []string{"cn=a, ou=b", ""}}, 200},
		"UTF-8":                     {&authn.UserInfo{Username: "jäne\u00a0x", Groups: []string{"開発"}}, 200},
		"not UTF-8":                 {&authn.UserInfo{Username: "j\xffe"}, 200},
		"odd keys":                  {&authn.UserInfo{Username: "jane", Extra: map[string][]string{"a b%+:/?ä_\n": {"v"}, "UPPER": {"w"}}}, 200},
		"newline":                   {&authn.UserInfo{Username: "jane\r\nX-Remote-Group: system:masters"}, 502},
		"newline in a group":        {&authn.UserInfo{Username: "jane", Groups: []string{"a\nb"}}, 502},
		"NUL in the UID":            {&authn.UserInfo{Username: "jane", UID: "\x00"}, 502},
		"DEL":                       {&authn.UserInfo{Username: "jane\x7f"}, 502},
		"newline in an extra value": {&authn.UserInfo{Username: "jane", Extra: map[string][]string{"k": {"a", "\r"}}}, 502},
		"space before":              {&authn.UserInfo{Username: " root"}, 502},
		"space after":               {&authn.UserInfo{Username: "root "}, 502},
		"space around a group":      {&authn.UserInfo{Username: "jane", Groups: []string{"\tsystem:masters"}}, 502},
	} {
		r, got := httptest.NewRequest("GET", "/x", nil), httptest.NewRecorder()
		if tt.user != nil {
			r = r.WithContext(authn.WithUser(r.Context(), tt.user))
		}
		r.Header.Set("X-Remote-User", "mallory")
		w.proxy.ServeHTTP(got, r)
		requests, _ := service.take()
		if got.Code != tt.code || (len(requests) == 1) != (tt.code == 200) {
			t.Errorf("%s: %d, the upstream saw %v, want %d", name, got.Code, requests, tt.code)
			continue
		}
		if tt.code == 200 {
			checkIdentity(t, name, requests[0].Header, tt.user)
		}
	}
	if text := w.log.String(); !strings.Contains(text, "no user") || !strings.Contains(text, "level=ERROR") {
		t.Error("the log does not say what is wrong:", text)
	}
}

// checkIdentity reads headers as newUIDHeaders and its like of k8s.io/apiserver
// pkg/authentication/request/headerrequest do.
func checkIdentity(t *testing.T, name string, h http.Header, want *authn.UserInfo) {
	t.Helper()
	extra := map[string][]string{}
	for header, values := range h {
		if key, ok := strings.CutPrefix(strings.ToLower(header), "x-remote-extra-"); ok {
			key, err := url.PathUnescape(key)
			if err != nil {
				t.Error(name, err)
			}
			extra[key] = append(extra[key], values...)
		}
	}
	wantExtra := map[string][]string{}
	for key, values := range want.Extra {
		wantExtra[strings.ToLower(key)] = values
	}
	if h.Get("X-Remote-User") != want.Username || h.Get("X-Remote-Uid") != want.UID || !slices.Equal(h["X-Remote-Group"], want.Groups) || !maps.EqualFunc(extra, wantExtra, slices.Equal[[]string]) {
		t.Errorf("%s: the upstream was told %v, want %v", name, h, want)
	}
}

// What the upstream says passes on, but for what concerns one connection alone.
func TestResponseHeaders(t *testing.T) {
	w := newWorld(t, upstream.Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Set-Cookie"] = []string{"a=b", "c=d"}
		h.Set("Server-Timing", "db;dur=53")
		h.Set("Content-Encoding", "gzip")
		h.Set("X-Remote-User", "is of the upstream's own")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "not really gzip")
	}))
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		res, body := w.get(w.client(proto), "/x")
		h := res.Header
		if res.StatusCode != http.StatusTeapot || body != "not really gzip" || !slices.Equal(h["Set-Cookie"], []string{"a=b", "c=d"}) || h.Get("Server-Timing") == "" || h.Get("Content-Encoding") != "gzip" || h.Get("X-Remote-User") == "" {
			t.Error(proto, res.Status, h, body)
		}
		for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authenticate", "Connection"} {
			if h[name] != nil {
				t.Errorf("%s: %s is %q", proto, name, h[name])
			}
		}
	}
}

// reviewer accepts the secret.
type reviewer struct{}

func (reviewer) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	return &authn.TokenReviewStatus{Authenticated: spec.Token == secret, User: authn.UserInfo{Username: "jane"}}, nil
}
