package kubeletapi_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	_ "net/http/pprof"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/decisionlog"
	"kubeletauth/kubeletapi/node"
	"kubeletauth/kubeletapi/options"
	"kubeletauth/kubeletapi/upstream"
)

// secrets are what nobody may see, by what they are.
type secrets map[string]string

// find returns which of the secrets are in text, in any of the forms that a
// program could write them in.
func (s secrets) find(text string) (found []string) {
	for name, secret := range s {
		for form, written := range map[string]string{
			"": secret, " in base64": base64.StdEncoding.EncodeToString([]byte(secret)), " in base64url": base64.RawURLEncoding.EncodeToString([]byte(secret)),
			" in hexadecimal": hex.EncodeToString([]byte(secret)), " escaped": url.QueryEscape(secret), " quoted": strings.Trim(fmt.Sprintf("%q", secret), `"`),
			" as bytes": strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		} {
			if strings.Contains(text, written) {
				found = append(found, name+form)
			}
		}
	}
	return found
}

// A token never shows: not in the log at any level, an answer, a metric, the
// configuration, a profile, the decision log, nor in what is remembered; whatever
// fails, and whatever the API server repeats of it.
func TestSecretsNeverShow(t *testing.T) {
	t.Parallel()
	for name, credential := range map[string]func(*world, secrets) []byte{
		"token, through a proxy": func(w *world, s secrets) []byte {
			s["the kubeconfig's token"], s["the proxy's password"] = w.api.ClientToken(), "secret-password-of-the-proxy"
			s["the proxy's header"] = base64.StdEncoding.EncodeToString([]byte("node:secret-password-of-the-proxy"))
			return []byte(strings.Replace(string(w.api.Kubeconfig("")), "server:", "proxy-url: http://node:secret-password-of-the-proxy@"+proxy(w.t)+"\n    server:", 1))
		},
		"certificate and password": func(w *world, s secrets) []byte { // the stand-in looks at the certificate
			pair := w.ca.MustIssue(w.t, apiservertest.Certificate{CommonName: "node"})
			w.api.SetClientCA(w.ca.Pool())
			s.addKey("the kubeconfig's key", pair)
			s["the kubeconfig's password"] = "secret-password-of-the-node"
			s["the kubeconfig's header"] = base64.StdEncoding.EncodeToString([]byte("node:secret-password-of-the-node"))
			return []byte(strings.Replace(string(w.api.KubeconfigWithCertificate(pair)), "client-certificate-data:", "username: node\n    password: secret-password-of-the-node\n    client-certificate-data:", 1))
		},
		"plugin": func(w *world, s secrets) []byte {
			if runtime.GOOS == "windows" {
				w.t.Skip("needs a shell")
			}
			s["the plugin's token"], s["the plugin's environment"] = w.api.ClientToken(), "secret-environment-of-the-plugin"
			answer := w.file("answer", fmt.Appendf(nil, `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":%q}}`, w.api.ClientToken()))
			return []byte(strings.Replace(string(w.api.Kubeconfig("placeholder")), `token: "placeholder"`,
				`exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: /bin/sh, args: [-c, "echo $SECRET >&2; cat `+answer+`"], env: [{name: SECRET, value: secret-environment-of-the-plugin}]}`, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newSecretWorld(t, credential).attack()
		})
	}
}

// addKey adds a line of a key, and the key as bytes.
func (s secrets) addKey(name string, pair tls.Certificate) {
	block, _ := pem.Decode(apiservertest.KeyPEM(pair))
	s[name+" in a file"] = strings.Split(string(apiservertest.KeyPEM(pair)), "\n")[2]
	s[name] = string(block.Bytes)
}

// proxy tunnels what has a password, and repeats that when it cannot.
func proxy(t *testing.T) (address string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		to, err := net.Dial("tcp", r.Host)
		if _, password, _ := strings.Cut(r.Header.Get("Proxy-Authorization"), "Basic "); err != nil || password == "" {
			fmt.Fprintf(client, "HTTP/1.1 502 %s is of no use\r\n\r\n", password)
			return
		}
		fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(to, client); to.Close() }()
		io.Copy(client, to)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// A password in a URL that may have none is refused, and is not in the error.
func TestPasswordsInURLs(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"https://u:PW@127.0.0.1:1", "https://PW@127.0.0.1:1", "http://u:PW@127.0.0.1:1", "https://u:PW@[::1", "https://u:PW%zz@h", "https://u:PW@h/x?y", "u:PW@h"} {
		bad = strings.Replace(bad, "PW", "secret-password", 1)
		w.cfg.Kubeconfig = w.file("bad", []byte(strings.Replace(string(w.api.Kubeconfig("")), w.api.URL, bad, 1)))
		_, err1 := kubeletapi.New(w.cfg)
		_, err2 := upstream.New(upstream.Config{URL: bad})
		for what, err := range map[string]error{"server": err1, "--upstream": err2} {
			if text := fmt.Sprint(err); err == nil || !strings.Contains(text, what) || strings.Contains(text, "secret-password") {
				t.Errorf("%s: %s: %v", bad, what, err)
			}
		}
	}
	for _, bad := range []string{"ftp://u:PW@h", "http://u:PW@[::1", "http://u:PW%zz@h", "u:PW@h", "http://u:PW@h:x"} {
		bad = strings.Replace(bad, "PW", "secret-password", 1)
		w.cfg.Kubeconfig = w.file("bad", []byte(strings.Replace(string(w.api.Kubeconfig("")), "server:", "proxy-url: "+strconv.Quote(bad)+"\n    server:", 1)))
		if _, err := kubeletapi.New(w.cfg); err == nil || !strings.Contains(err.Error(), "proxy-url") || strings.Contains(err.Error(), "secret-password") {
			t.Errorf("proxy-url: %s: %v", bad, err)
		}
	}
}

// secretWorld is a world with everything on that could tell a secret.
type secretWorld struct {
	*world
	secrets secrets
	answers buffer
	json    buffer // the log, once more
	events  string // the file of the decision log
}

func newSecretWorld(t *testing.T, credential func(*world, secrets) []byte) *secretWorld {
	w := &secretWorld{world: newWorld(t), secrets: secrets{"jane's token": goodToken}}
	serving, err := tls.LoadX509KeyPair(w.cfg.TLSCertFile, w.cfg.TLSPrivateKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	w.secrets.addKey("the serving key", serving)
	client := w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "node"})
	w.secrets.addKey("the upstream's client key", client)
	w.cfg.Kubeconfig = w.file("kubeconfig", credential(w.world, w.secrets))
	w.cfg.AnonymousAuth = true
	w.cfg.AuthenticationStaleIfError, w.cfg.AuthorizationStaleIfError = 1, 1
	w.events = filepath.Join(t.TempDir(), "decisions")
	debug := &slog.HandlerOptions{Level: slog.LevelDebug - 4, AddSource: true}
	w.cfg.Logger = slog.New(slog.NewMultiHandler(slog.NewTextHandler(w.log, debug), slog.NewJSONHandler(&w.json, debug)))
	events, err := decisionlog.Open(decisionlog.Config{Path: w.events, Blocking: true, Logger: w.cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.EventLogger = events
	if w.auth, err = kubeletapi.New(w.cfg); err != nil {
		t.Fatal(err)
	}
	gone, err := upstream.New(upstream.Config{URL: "https://127.0.0.1:1", Logger: w.cfg.Logger,
		CertFile: w.file("upstream.crt", apiservertest.CertPEM(client)), KeyFile: w.file("upstream.key", apiservertest.KeyPEM(client))})
	if err != nil {
		t.Fatal(err)
	}
	own := node.API{Metrics: w.auth.WriteMetrics, Configz: options.Options{Config: w.cfg}.Configz(), Profiling: http.DefaultServeMux, Logger: w.cfg.Logger}.Handler()
	w.serve(&kubeletapi.Server{Config: w.cfg, Auth: w.auth, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic(fmt.Sprintf("%+v %v", r.Header, errors.New("a handler's own"))) // all that it was given
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/upstream":
			gone.ServeHTTP(rw, r)
		case "/echo":
			r.Write(rw)
		default:
			own.ServeHTTP(rw, r)
		}
	})})
	t.Cleanup(func() {
		w.stop()
		w.auth.Close()
		events.Close()
		w.search()
	})
	return w
}

// ask sends a request and keeps all of its answer.
func (w *secretWorld) ask(client *http.Client, method, path string, headers ...string) (code int) {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	response, err := client.Do(r)
	if err != nil { // a panic, and not what the test is about
		return 0
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Fprintln(&w.answers, response.Status, response.Header, string(body), response.Trailer)
	return response.StatusCode
}

func (w *secretWorld) attack() {
	const api = "authentication.k8s.io/v1"
	w.api.AllowUser("jane", "*", "proxy", "metrics", "stats")
	w.api.AllowUser(authn.UserAnonymous, "get", "spec")
	h1, h2 := w.client("HTTP/1.1", nil), w.client("HTTP/2.0", nil)
	webSocket := func(token string) []string {
		return []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v4, base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(token))}
	}
	both := append(webSocket(goodToken), "Authorization: Bearer "+goodToken)
	for _, client := range []*http.Client{h1, h2} {
		for _, path := range []string{"/panic", "/abort", "/upstream", "/echo", "/metrics", "/configz", "/stats/summary", "/spec/", "/pods", "//pods", "/a%2fb", "/logs/x",
			"/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/cmdline", "/healthz?verbose", "/readyz?exclude=x"} {
			for _, method := range []string{"GET", "DELETE"} {
				if code := w.ask(client, method, path, "Authorization: Bearer "+goodToken); code == 401 {
					w.t.Errorf("%s %s: %d", method, path, code)
				}
			}
			if client == h1 && w.ask(client, "GET", path, webSocket(goodToken)...) == 401 {
				w.t.Errorf("%s: 401 over a WebSocket", path)
			}
		}
	}
	for _, path := range []string{"/echo", "/panic"} {
		w.ask(h1, "GET", path, both...)
	}
	faults := []apiservertest.Fault{{Break: apiservertest.BreakTruncate}, {Break: apiservertest.BreakOversize}, {Break: apiservertest.BreakKind},
		{Break: apiservertest.BreakEmpty}, {Break: apiservertest.BreakContradict}, {Break: apiservertest.BreakReset, Times: 1}, {Status: 429, RetryAfter: 1, Times: 1}}
	for _, code := range []int{400, 401, 403, 404, 409, 413, 422, 501} {
		faults = append(faults, apiservertest.Fault{Status: code})
	}
	if w.secrets["the kubeconfig's token"] != "" { // once is enough for what is tried again and again
		faults = append(faults, apiservertest.Fault{Status: 500}, apiservertest.Fault{Break: apiservertest.BreakClose})
	}
	for i, fault := range faults {
		token := w.stranger(fmt.Sprint("of fault ", i))
		w.api.Inject(apiservertest.TokenReviews, fault)
		w.ask(h1, "GET", "/stats/", "Authorization: Bearer "+token)
		w.api.Inject(apiservertest.TokenReviews)
		if fault.Status == 500 || fault.Break == apiservertest.BreakClose {
			continue
		}
		w.api.Inject(apiservertest.SubjectAccessReviews, fault)
		w.ask(h2, []string{"PUT", "PATCH", "POST"}[i%3], "/logs/", "Authorization: Bearer "+goodToken)
		w.api.Inject(apiservertest.SubjectAccessReviews)
	}
	for i, echo := range []apiservertest.Fault{ // the API server repeats what it was sent
		{Body: `{"kind":"TokenReview","apiVersion":"` + api + `","status":{"error":"TOKEN and CLIENT"}}`},
		{Body: `{"kind":"TokenReview","apiVersion":"` + api + `","status":{"authenticated":"TOKEN CLIENT"}}`},
		{Body: `{"kind":"TOKEN CLIENT","apiVersion":"` + api + `"}`}, {Body: `{"kind":"TokenReview","apiVersion":"TOKEN CLIENT"}`}, {Body: `TOKEN CLIENT`}, {Body: `"TOKEN CLIENT"`},
		{Body: `{"TOKEN`}, {Body: `{"kind":TOKEN}`},
		{Status: 400, Body: `{"kind":"Status","status":"Failure","message":"TOKEN CLIENT","reason":"TOKEN CLIENT"}`},
		{Status: 403, Body: `TOKEN CLIENT`}, {Status: 500, Body: `{"kind":"Status","status":"Failure","message":"{\"spec\":{\"token\":\"TOKEN\"}}"}`},
		{Redirect: "https://elsewhere.example/TOKEN/CLIENT?token=TOKEN"}, {Redirect: "https://elsewhere.example/?TOKEN#CLIENT"},
	} {
		token := w.stranger(fmt.Sprint("that comes back ", i))
		fill := strings.NewReplacer("TOKEN", token, "CLIENT", w.api.ClientToken())
		if password := w.secrets["the kubeconfig's password"]; password != "" {
			fill = strings.NewReplacer("TOKEN", token, "CLIENT", password+" "+w.secrets["the kubeconfig's header"])
		}
		echo.Body, echo.Redirect = fill.Replace(echo.Body), fill.Replace(echo.Redirect)
		w.api.Inject(apiservertest.TokenReviews, echo)
		if code := w.ask(h1, "GET", "/stats/", "Authorization: Bearer "+token); code != 401 {
			w.t.Errorf("echo %d: %d", i, code)
		}
		echo.Body, echo.Redirect = strings.ReplaceAll(echo.Body, token, "-"), strings.ReplaceAll(echo.Redirect, token, "-") // it is not sent there
		echo.Body = strings.NewReplacer("TokenReview", "SubjectAccessReview", "authentication.k8s.io", "authorization.k8s.io", `"error"`, `"reason"`, `"authenticated"`, `"allowed"`).Replace(echo.Body)
		w.api.Inject(apiservertest.SubjectAccessReviews, echo)
		w.ask(h2, []string{"OPTIONS", "PUT", "PATCH", "DELETE"}[i%4], []string{"/spec/", "/logs/x", "/stats/x", "/spec/x"}[i/4], "Authorization: Bearer "+goodToken)
		w.api.Inject(apiservertest.TokenReviews)
		w.api.Inject(apiservertest.SubjectAccessReviews)
	}
	for name, value := range map[string]string{
		"long": "Bearer " + w.stranger("long") + strings.Repeat("x", 17<<10), "white": "Bearer " + w.stranger("white") + "\u00a0x", "bytes": "Bearer " + w.stranger("bytes") + "\xff",
		"junk": "Bearer " + goodToken + " " + w.stranger("junk"), "basic": "Basic " + w.stranger("basic"), "none": w.stranger("no scheme"), "two": "Bearer x, " + w.stranger("two"),
		"expired": "Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1}`)) + "." + w.stranger("expired"),
	} {
		if code := w.ask(h2, "PATCH", "/logs/"+name, "Authorization: "+value); code == 200 {
			w.t.Errorf("%s: %d", name, code)
		}
	}
	for _, protocols := range []string{"TOKEN", "v4, TOKEN, TOKEN", "v4, TOKEN=", "v4, TOKEN!"} {
		token := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(w.stranger("of a bad WebSocket")))
		w.ask(h1, "GET", "/logs/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: "+strings.ReplaceAll(protocols, "TOKEN", token))
	}
	for _, file := range []string{"tls.crt", "ca.crt", "upstream.crt"} { // a key where none belongs
		w.file(file, []byte(strings.Replace(string(w.key(file)), "PRIVATE KEY", "CERTIFICATE", 2)))
	}
	for range 2 {
		time.Sleep(time.Second)
		w.ask(w.client("HTTP/1.1", nil), "GET", "/upstream", "Authorization: Bearer "+goodToken)
	}
	for _, what := range []string{"tls.crt", "ca.crt", "upstream.crt"} {
		if !strings.Contains(w.log.String(), what) {
			w.t.Errorf("the log says nothing of %s", what)
		}
	}
	w.api.SetClientTokens() // what New was told is refused from now on
	w.api.SetClientCA(nil)
	w.ask(h1, "PATCH", "/stats/", "Authorization: Bearer "+w.stranger("unasked"))
	w.api.Stop()
	w.ask(h1, "PATCH", "/stats/x", "Authorization: Bearer "+goodToken)
	w.ask(h1, "GET", "/configz", "Authorization: Bearer "+goodToken)
	w.ask(h1, "GET", "/metrics", "Authorization: Bearer "+goodToken)
	w.file("kubeconfig", []byte("users: [{name: x, user: {token: "+w.stranger("of a bad kubeconfig")+", junk"))
}

// stranger returns a token of its own, which is a secret too.
func (w *secretWorld) stranger(name string) string {
	token := "secret-" + strings.ReplaceAll(name, " ", "-") + "-secret"
	w.secrets[name] = token
	return token
}

// key returns the key that belongs to the certificate in a file.
func (w *secretWorld) key(file string) []byte {
	name := strings.Replace(strings.Replace(file, ".crt", ".key", 1), "ca.", "tls.", 1)
	content, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return content
}

func (w *secretWorld) search() {
	events, err := os.ReadFile(w.events)
	if err != nil || len(events) < 10_000 {
		w.t.Errorf("%d bytes of decisions, %v", len(events), err)
	}
	kept := new(strings.Builder)
	walk{visited: map[visit]bool{}, text: kept}.value(reflect.ValueOf(w.auth), "Auth")
	for where, text := range map[string]string{"log": w.log.String(), "JSON log": w.json.String(), "decision log": string(events), "answers": w.answers.String(), "memory": kept.String()} {
		if found := w.secrets.find(text); len(found) > 0 {
			w.t.Errorf("%s: has %q", where, found)
		}
		if len(text) < 2000 || where != "memory" && !strings.Contains(text, "jane") && where != "answers" {
			w.t.Errorf("%s: is no more than %q", where, text)
		}
	}
	if !strings.Contains(kept.String(), "jane") || !strings.Contains(kept.String(), "system:authenticated") {
		w.t.Error("what is remembered was not found, so that nothing was proved")
	}
}

// walk collects all text that can be reached from a value. What reaches the API
// server is left out: it holds this server's own credential, and the buffers of
// connections; and so are logs.
type walk struct {
	visited map[visit]bool
	text    *strings.Builder
}

type visit struct {
	reflect.Type
	address uintptr
}

func (w walk) value(v reflect.Value, path string) {
	if v.CanAddr() {
		here := visit{v.Type(), v.UnsafeAddr()}
		if w.visited[here] {
			return
		}
		w.visited[here] = true
		v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
	}
	switch name := v.Type().String(); {
	case name == "*kubeclient.Client" || name == "*slog.Logger" || name == "kubeletapi.EventLogger" || name == "*x509.CertPool":
		return
	case v.Kind() == reflect.Struct && v.Type().PkgPath() == "sync/atomic" && strings.HasPrefix(v.Type().Name(), "Pointer["):
		if p := atomic.LoadPointer((*unsafe.Pointer)(v.FieldByName("v").Addr().UnsafePointer())); p != nil { // a clock may still run
			w.value(reflect.NewAt(v.Type().Field(0).Type.Elem().Elem(), p).Elem(), path)
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		fmt.Fprintln(w.text, path, v.String())
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			w.value(v.Elem(), path)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			w.value(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
			fmt.Fprintln(w.text, path, string(v.Bytes()))
			return
		}
		for i := range v.Len() {
			w.value(v.Index(i), path)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			w.value(key, path)
			w.value(v.MapIndex(key), path)
		}
	}
}
