package kubeletapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// keep is a server to attack: its callers may do different things, and its
// handler fails the test when it is reached for anything that was not allowed to
// exactly this user, whichever way it reads the request.
type keep struct {
	server *Server

	mu      sync.Mutex // guards what follows
	t       testing.TB
	allowed map[string]bool // "user verb subresource" that a review allowed
	reached []string        // "user verb subresource path" that the handler saw
}

const (
	janesToken = "token-of-jane" // may get stats
	rootsToken = "token-of-root" // may do everything

	encodedRootsToken = "dG9rZW4tb2Ytcm9vdA"
)

func newKeep(t testing.TB) *keep {
	k := &keep{t: t, allowed: map[string]bool{}}
	logger := slog.New(panics{k})
	cfg := Config{
		HostnameOverride: "n1", AnonymousAuth: true, AnonymousAuthPaths: []string{"/metrics", "/healthz"}, Logger: logger,
		AuthenticationTokenWebhook: true, TokenReviewer: k, AuthorizationMode: ModeWebhook, AccessReviewer: k, KubeAPIQPS: 1e6, KubeAPIBurst: 1e6,
	}
	auth, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auth.Close)
	k.server = &Server{Config: cfg, Auth: auth, Handler: k}
	return k
}

// panics is the log of a server whose handlers must not panic.
type panics struct{ *keep }

func (panics) Enabled(context.Context, slog.Level) bool { return true }
func (p panics) WithAttrs([]slog.Attr) slog.Handler     { return p }
func (p panics) WithGroup(string) slog.Handler          { return p }
func (p panics) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "panic") {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.t.Error(r.Message)
	}
	return nil
}

func (k *keep) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	name, known := map[string]string{janesToken: "jane", rootsToken: "root"}[spec.Token]
	return &authn.TokenReviewStatus{Authenticated: known, User: authn.UserInfo{Username: name}}, nil
}

func (k *keep) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	a := spec.ResourceAttributes
	what := spec.User + " " + a.Verb + " " + a.Subresource
	allowed := spec.User == "root" || what == "jane get stats" || what == "system:anonymous get metrics"
	k.mu.Lock()
	defer k.mu.Unlock()
	if allowed {
		k.allowed[what] = true
	}
	return &authz.SubjectAccessReviewStatus{Allowed: allowed}, nil
}

func (k *keep) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	user, ok := authn.UserFrom(r.Context())
	if !ok {
		k.t.Errorf("%s %q is served to nobody", r.Method, r.RequestURI)
		return
	}
	for how, read := range readings(r) {
		if what := user.Username + " " + pageVerb(r.Method) + " " + pageSubresource(read); !k.allowed[what] {
			k.t.Errorf("%s %q, %s: %q: is served, and %q was not allowed", r.Method, r.RequestURI, how, read, what)
		}
	}
	if all := fmt.Sprint(r.Header); strings.Contains(all, "Bearer "+janesToken) || strings.Contains(all, "Bearer "+rootsToken) || strings.Contains(all, encodedRootsToken) {
		k.t.Errorf("%s %q: the handler sees the token of %s: %s", r.Method, r.RequestURI, user.Username, all)
	}
	if user.Username == authn.UserAnonymous && r.URL.Path != "/metrics" && r.URL.Path != "/healthz" {
		k.t.Errorf("%s %q is served to anonymous, who is for other paths", r.Method, r.RequestURI)
	}
	saw := fmt.Sprint(user.Username, " ", pageVerb(r.Method), " ", pageSubresource(r.URL.Path), " ", r.URL.Path)
	k.reached = append(k.reached, saw)
	fmt.Fprint(w, saw)
}

// readings are the paths that a program could take a request for.
func readings(r *http.Request) map[string]string {
	all := map[string]string{"decoded": r.URL.Path, "cleaned": path.Clean("/" + r.URL.Path)}
	var segments []string
	for segment := range strings.SplitSeq(r.URL.EscapedPath(), "/") {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			decoded = "cannot be decoded"
		}
		segments = append(segments, decoded)
	}
	all["segments"] = strings.Join(segments, "/")
	all["backslashes"] = path.Clean("/" + strings.ReplaceAll(r.URL.Path, `\`, "/"))
	all["to the NUL"], _, _ = strings.Cut(r.URL.Path, "\x00")
	if raw, _, _ := strings.Cut(r.RequestURI, "?"); strings.HasPrefix(raw, "/") {
		if decoded, err := url.PathUnescape(raw); err == nil {
			all["wire"] = path.Clean(decoded)
		}
	}
	return all
}

// pageVerb and pageSubresource are the page's tables once more.
func pageVerb(method string) string {
	return map[string]string{"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
}

func pageSubresource(p string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	if s, ok := map[string]string{"stats": "stats", "metrics": "metrics", "logs": "log", "spec": "spec"}[first]; ok && strings.HasPrefix(p, "/") {
		return s
	}
	return "proxy"
}

// saw returns what the handler saw since the last time.
func (k *keep) saw() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	saw := k.reached
	k.reached = nil
	return saw
}
