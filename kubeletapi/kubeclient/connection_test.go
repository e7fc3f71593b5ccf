package kubeclient

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestUnknownServerCertificate(t *testing.T) {
	t.Parallel()
	other := newAuthority(t, "another CA")
	for _, test := range []struct{ name, cluster, want string }{
		{"another CA", `"certificate-authority-data": "` + b64(other.cert) + `"`, "certificate signed by unknown authority"},
		{"the system's roots", `foo: 1`, "certificate signed by unknown authority"},
		{"another name", `"tls-server-name": other.example`, "not other.example"},
	} {
		w := newWorld(t)
		text := kubeconfigText(w.URL, "token: "+ourToken, test.cluster)
		if test.name == "another name" {
			text = kubeconfigText(w.URL, "token: "+ourToken, test.cluster, `"certificate-authority-data": "`+b64(w.ca.cert)+`"`)
		}
		_, err := reviewToken(w.client(w.write("kubeconfig", text)))
		mustFail(t, err, test.want)
		if len(w.arrived()) > 0 {
			t.Errorf("%s: a request arrived", test.name)
		}
	}
}

func TestInsecureIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(w.write("kubeconfig", kubeconfigText(w.URL, "token: "+ourToken, "insecure-skip-tls-verify: true")))
	mustReview(t, c)
	if n := strings.Count(w.log.text(), "level=WARN msg=\"insecure-skip-tls-verify is set"); n != 1 {
		t.Errorf("%d warnings in %q, want 1", n, w.log.text())
	}
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.ca.issue(t, "node")
	c := w.client(w.kubeconfig("client-certificate-data: " + b64(p.cert) + ", client-key-data: " + b64(p.key)))
	mustReview(t, c)
	for _, s := range w.arrived() {
		if s.certificate != "node" || s.authorization != "" {
			t.Errorf("authorized by certificate %q and %q", s.certificate, s.authorization)
		}
	}
}

func TestBasicAuthentication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setAnswer(func(n int, s seen, rw http.ResponseWriter) {
		send(rw, 403, `{"kind":"Status","status":"Failure","message":"`+s.authorization+` `+ourPassword+`"}`)
	})
	c := w.client(w.kubeconfig("username: u, password: " + ourPassword))
	_, err := reviewToken(c)
	mustFail(t, err, "Basic [redacted] [redacted]")
	if got := w.arrived()[0].authorization; got != "Basic "+b64([]byte("u:"+ourPassword)) {
		t.Errorf("sent %q", got)
	}
}

func TestPrefixAndProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var asked []string
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer proxy.Close()
	go relay(proxy, func(conn net.Conn) net.Conn {
		r := bufio.NewReader(conn)
		req, err := http.ReadRequest(r)
		if err != nil {
			return nil
		}
		mu.Lock()
		asked = append(asked, req.Method+" "+req.Host+" "+req.Header.Get("Proxy-Authorization"))
		mu.Unlock()
		to, err := net.Dial("tcp", w.Listener.Addr().String())
		if err == nil {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		}
		return to
	})
	text := kubeconfigText("https://api.example:6443/k8s/c-1/", "token: "+ourToken, "proxy-url: 'http://u:SECRET@"+proxy.Addr().String()+"'", `"certificate-authority-data": "`+b64(w.ca.cert)+`"`)
	c := w.client(w.write("kubeconfig", text))
	mustReview(t, c)
	if got, want := w.arrived()[0].path, "/k8s/c-1/apis/authentication.k8s.io/v1/tokenreviews"; got != want {
		t.Errorf("path %q, want %q", got, want)
	}
	mu.Lock()
	if len(asked) != 1 || asked[0] != "CONNECT api.example:6443 Basic "+b64([]byte("u:SECRET")) {
		t.Errorf("the proxy was asked %q", asked)
	}
	mu.Unlock()
	c.Close()
	proxy.Close()
	c = w.client(w.folder + "/kubeconfig")
	_, err = reviewToken(c)
	mustFail(t, err, "connection refused")
}

func TestProxyRepeatsItsPassword(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutServer(t)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer proxy.Close()
	go relay(proxy, func(conn net.Conn) net.Conn {
		if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			fmt.Fprintf(conn, "HTTP/1.1 407 %s is not SECRET\x1b\r\n\r\n", req.Header.Get("Proxy-Authorization"))
		}
		return nil
	})
	c := w.client(w.kubeconfig("token: "+ourToken, "proxy-url: 'http://u:SECRET@"+proxy.Addr().String()+"'"))
	_, err = reviewToken(c)
	mustFail(t, err, "the proxy answered 407 Proxy Authentication Required")
	if strings.Contains(err.Error(), b64([]byte("u:SECRET"))) {
		t.Error(err)
	}
}

// relay copies between each connection and the one that dial makes for it.
func relay(l net.Listener, dial func(net.Conn) net.Conn) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			to := dial(from)
			if to == nil {
				return
			}
			defer to.Close()
			go io.Copy(to, from)
			io.Copy(from, to)
		}()
	}
}

// silencer passes bytes on until it is told to be silent, and then swallows
// those of the connections that are open; new ones work.
type silencer struct {
	net.Conn
	silent *sync.Map
}

func (s silencer) Write(p []byte) (int, error) {
	if _, silent := s.silent.Load(s.Conn); silent {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// A connection that went silent, as after the loss of a router's memory, costs
// the reviews that are on it, and none of those after.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var silent, open sync.Map
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", w.Listener.Addr().String())
			if err != nil {
				return
			}
			open.Store(to, true)
			t.Cleanup(func() { from.Close(); to.Close() })
			go io.Copy(silencer{to, &silent}, from)
			go io.Copy(from, to)
		}
	}()
	cfg := w.config(w.write("kubeconfig", kubeconfigText("https://"+l.Addr().String(), "token: "+ourToken, `"certificate-authority-data": "`+b64(w.ca.cert)+`"`)))
	cfg.Timeout = 500 * time.Millisecond
	c, err := New(cfg)
	must(t, err)
	defer c.Close()
	mustReview(t, c)
	open.Range(func(conn, _ any) bool { silent.Store(conn, true); return true })
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			_, err := reviewToken(c)
			mustFail(t, err, "context deadline exceeded")
		})
	}
	wg.Wait()
	mustReview(t, c)
}

// A connection on which an answer stalls is as bad as one without an answer.
func TestStalledAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	w.setAnswer(func(n int, s seen, rw http.ResponseWriter) {
		if n > 1 {
			yes(n, s, rw)
			return
		}
		fmt.Fprint(rw, "{")
		http.NewResponseController(rw).Flush()
		<-release
	})
	cfg := w.config(w.kubeconfig("token: " + ourToken))
	cfg.Timeout = 2 * time.Second
	c, err := New(cfg)
	must(t, err)
	t.Cleanup(c.Close)
	_, err = reviewToken(c)
	mustFail(t, err, "context deadline exceeded")
	mustReview(t, c)
	if requests := w.arrived(); requests[0].from == requests[1].from {
		t.Error("the connection is used again")
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.tokenClient()
	for i := range 5 {
		mustReview(t, c)
		w.kubeconfig(fmt.Sprintf("token: token-%d", i))
		c.files.reload()
	}
	addresses := map[string]bool{}
	for _, s := range w.arrived() {
		addresses[s.from] = true
	}
	if len(addresses) != 1 {
		t.Errorf("%d connections for five tokens, want 1", len(addresses))
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	count := func() int {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		n := 0
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			if strings.Contains(stack, "net/http.(*http2ClientConn)") || strings.Contains(stack, "net/http.(*persistConn)") || strings.Contains(stack, "kubeclient.(*") {
				n++
			}
		}
		return n
	}
	before := count()
	w := newWorld(t)
	w.write("answer", execToken(ourToken, time.Hour))
	for _, user := range []string{"token: " + ourToken, w.execUser("")} {
		c := w.client(w.kubeconfig(user))
		mustReview(t, c)
		p := w.ca.issue(t, "x")
		w.kubeconfig("client-certificate-data: " + b64(p.cert) + ", client-key-data: " + b64(p.key))
		c.files.reload()
		mustReview(t, c)
		c.Close()
	}
	for range 100 {
		if count() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
}

func TestHTTP1(t *testing.T) {
	t.Setenv("DISABLE_HTTP2", "1")
	w := newWorld(t)
	mustReview(t, w.tokenClient())
	if major := w.arrived()[0].major; major != 1 {
		t.Errorf("HTTP/%d with DISABLE_HTTP2, want HTTP/1", major)
	}
}

// Everything that can be logged and returned, searched for everything secret, is
// in mustHide and mustFail of the other tests; this is for what New says.
func TestNoSecretInErrorsOfNew(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutServer(t)
	w.write("token", "our\nSECRET")
	for _, user := range []string{"tokenFile: token", `token: "SECRET\u0001"`, "token: SECRET, password: SECRET", "client-key-data: SECRET="} {
		_, err := New(w.config(w.kubeconfig(user)))
		mustFail(t, err, "kubeconfig "+w.folder+string(os.PathSeparator))
	}
	mustHide(t, w.log.text())
}
