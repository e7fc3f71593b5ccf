package kubeletapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/node"
	"kubeletauth/testdata/vectors"
)

func TestHTTPVectors(t *testing.T) {
	vectors.Run(t, "http", "kubeletapi", 176, checkHTTP)
}

func TestHTTPSpecialVectors(t *testing.T) {
	vectors.Run(t, "http-special", "kubeletapi", 10, checkHTTP)
}

// response is the part of an answer that rows say something of.
type response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    *string           `json:"body"`
}

// checkHTTP sends the request of a row twice, once where everything is refused
// and once where everything is allowed.
func checkHTTP(t *testing.T, input, expect *vectors.Object) {
	t.Helper()
	called := vectors.Or(expect, "authenticator_called", true)
	var direct, denied response
	var allowed struct {
		response
		PassedOn string `json:"passed_on"`
	}
	hasDenied, hasAllowed := expect.Get("if_all_denied", &denied), expect.Get("if_allowed", &allowed)
	direct = response{vectors.Or(expect, "status", 0), vectors.Or[map[string]string](expect, "headers", nil), vectors.Or[*string](expect, "body", nil)}
	if called != (direct.Status == 0) || called != hasDenied || called != hasAllowed {
		t.Fatal("a row expects one answer, or one if all is denied and one if all is allowed")
	}
	for decision, want := range map[authz.Decision]response{authz.DecisionDeny: denied, authz.DecisionAllow: allowed.response} {
		f := newFront(t, decision, fineGrained(t, input))
		got := f.send(t, input)
		if !called {
			got.check(t, direct)
			f.check(t, nil, nil)
			continue
		}
		got.check(t, want)
		f.checkAsked(t, expect)
		if decision == authz.DecisionAllow {
			f.check(t, f.asked[:1], []string{allowed.PassedOn})
		} else {
			f.check(t, f.asked, nil)
		}
	}
}

// check compares what the row says of an answer.
func (got response) check(t *testing.T, want response) {
	t.Helper()
	if want.Status != 0 && got.Status != want.Status {
		t.Errorf("status %d, want %d", got.Status, want.Status)
	}
	for name, value := range want.Headers {
		if got.Headers[name] != value {
			t.Errorf("%s: %q, want %q", name, got.Headers[name], value)
		}
	}
	if want.Body != nil && *got.Body != *want.Body {
		t.Errorf("body %q, want %q", *got.Body, *want.Body)
	}
}

// front is a server whose filter knows everyone as u and decides all alike.
type front struct {
	address  string
	decision authz.Decision
	next     http.Handler

	mu            sync.Mutex // guards what follows
	authenticated int
	asked         []authz.Attributes
	passed        []string
}

func (f *front) AuthenticateRequest(*http.Request) (*authn.UserInfo, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.authenticated++
	return &authn.UserInfo{Username: "u"}, true, nil
}

func (f *front) Authorize(_ context.Context, a authz.Attributes) (authz.Decision, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, a)
	return f.decision, "", nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.passed = append(f.passed, r.URL.Path)
	f.mu.Unlock()
	f.next.ServeHTTP(w, r)
}

// newFront starts a server with the node's own handler behind the filter.
func newFront(t *testing.T, decision authz.Decision, fineGrained bool) *front {
	t.Helper()
	api := node.API{Metrics: func(io.Writer) error { return nil }, Configz: struct{}{}}
	f := &front{decision: decision, next: api.Handler()}
	logger := slog.New(slog.DiscardHandler)
	auth := &Auth{NodeName: "n1", Authenticator: f, Authorizer: f, FineGrained: fineGrained, Logger: logger}
	f.address = serveRows(t, &Server{Config: Config{HostnameOverride: "n1", Logger: logger}, Auth: auth, Handler: f})
	return f
}

// serveRows serves until the test ends, and returns the address.
func serveRows(t *testing.T, s *Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return listener.Addr().String()
}

// send writes a request just as the row has it, which no client would do.
func (f *front) send(t *testing.T, input *vectors.Object) response {
	t.Helper()
	conn, err := tls.Dial("tcp", f.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	method := vectors.Or(input, "method", "")
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: node.example\r\n", method, vectors.Or(input, "request_target", ""))
	for name, value := range vectors.Or[map[string]string](input, "headers", nil) {
		fmt.Fprintf(conn, "%s: %s\r\n", name, value)
	}
	fmt.Fprint(conn, "\r\n")
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return readResponse(t, r)
}

func readResponse(t *testing.T, r *http.Response) response {
	t.Helper()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	body := string(content)
	headers := map[string]string{}
	for name := range r.Header {
		headers[name] = r.Header.Get(name)
	}
	return response{r.StatusCode, headers, &body}
}

// check checks who was asked what, and what reached the handler.
func (f *front) check(t *testing.T, asked []authz.Attributes, passed []string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if want := min(len(asked), 1); f.authenticated != want {
		t.Errorf("authenticated %d times, want %d", f.authenticated, want)
	}
	if diff := cmp.Diff(asked, f.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if !slices.Equal(f.passed, passed) {
		t.Errorf("passed on %q, want %q", f.passed, passed)
	}
}

// checkAsked checks what was asked: all of it where all is refused, and the
// first where all is allowed.
func (f *front) checkAsked(t *testing.T, expect *vectors.Object) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	subresources := vectors.Or[[]string](expect, "subresources", nil)
	if f.decision == authz.DecisionAllow {
		subresources = subresources[:1]
	}
	if len(f.asked) != len(subresources) {
		t.Fatalf("asked %v, want %v", f.asked, subresources)
	}
	for i, a := range f.asked {
		if a.Subresource != subresources[i] || a.Verb != vectors.Or(expect, "verb", "") || a.Path != vectors.Or(expect, "attribute_path", "") {
			t.Errorf("asked %+v, want %s", a, subresources[i])
		}
	}
}
