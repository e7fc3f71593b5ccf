package kubeletapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
)

// cluster stands for the API server: it knows one token, jane's, and lets her
// get the nodes' metrics, and volumes. In a program, Config.Kubeconfig or Config.InCluster
// says how to reach the real one.
type cluster struct{}

func (cluster) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	if spec.Token != "janes-token" {
		return &authn.TokenReviewStatus{Error: "invalid bearer token"}, nil
	}
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "jane"}}, nil
}

func (cluster) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	a := spec.ResourceAttributes
	known := a.Resource == "nodes" && a.Subresource == "metrics" || a.Resource == "volumes"
	return &authz.SubjectAccessReviewStatus{Allowed: spec.User == "jane" && a.Verb == "get" && known}, nil
}

// A program that has a mux already: what it serves is asked for as before, and
// the filter stands in front.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		user, _ := authn.UserFrom(r.Context())
		fmt.Fprintln(w, "agent_up 1 # for", user.Username)
	})
	auth, err := kubeletapi.New(kubeletapi.Config{
		AuthenticationTokenWebhook: true,
		AuthorizationMode:          kubeletapi.ModeWebhook,
		HostnameOverride:           "n1",
		TokenReviewer:              cluster{},
		AccessReviewer:             cluster{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	handler := auth.Handler(mux)
	show(handler, "/metrics", "janes-token")
	show(handler, "/metrics", "")
	show(handler, "/configz", "janes-token")
	// Output:
	// 200 agent_up 1 # for jane
	// 401 Unauthorized
	// 403 Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[proxy])
}

// show asks handler as a client with a token does, and prints the answer.
func show(handler http.Handler, path, token string) {
	r := httptest.NewRequest("GET", path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
}

// The whole server of a node agent: certificates and tokens, and every request
// decided by the cluster's RBAC.
func ExampleServer() {
	cfg := kubeletapi.Config{
		ClientCAFile:               "/etc/kubernetes/pki/ca.crt",
		AuthenticationTokenWebhook: true,
		AuthorizationMode:          kubeletapi.ModeWebhook,
		Kubeconfig:                 "/etc/kubernetes/agent.conf",
	}
	if err := guard(context.Background(), cfg, http.NewServeMux()); err != nil {
		fmt.Println(err)
	}
}

func guard(ctx context.Context, cfg kubeletapi.Config, mux *http.ServeMux) error {
	auth, err := kubeletapi.New(cfg)
	if err != nil {
		return err
	}
	return (&kubeletapi.Server{Config: cfg, Auth: auth, Handler: mux}).ListenAndServe(ctx)
}

// A filter with an authorizer of one's own, and its answers.
func ExampleAuth_Handler() {
	auth := &kubeletapi.Auth{NodeName: "n1", Authenticator: authn.Anonymous{}, Authorizer: onlyMetrics{}}
	handler := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := authn.UserFrom(r.Context())
		fmt.Fprintf(w, "hello %s", user.Username)
	}))
	for _, path := range []string{"/metrics", "/pods", "/metrics/%2e%2e/pods"} {
		show(handler, path, "")
	}
	// Output:
	// 200 hello system:anonymous
	// 403 Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[proxy])
	// 400 Bad Request
}

type onlyMetrics struct{}

func (onlyMetrics) Authorize(_ context.Context, a authz.Attributes) (authz.Decision, string, error) {
	if a.Verb == "get" && a.Subresource == "metrics" {
		return authz.DecisionAllow, "metrics are for everyone", nil
	}
	return authz.DecisionNoOpinion, "", nil
}

// Only to know who asks: everyone with a good credential may do everything, as
// far as the filter is concerned, and the program decides by the name.
func ExampleAuth_Check_onlyAuthenticate() {
	auth, err := kubeletapi.New(kubeletapi.Config{
		AuthenticationTokenWebhook: true,
		TokenReviewer:              cluster{},
		AuthorizationMode:          kubeletapi.ModeAlwaysAllow, // with AnonymousAuth too, nobody would be refused
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	for _, authorization := range []string{"Bearer janes-token", "Bearer stolen-token", ""} {
		r := httptest.NewRequest("POST", "/own/path", nil)
		r.Header.Set("Authorization", authorization)
		user, err := auth.Check(r)
		if err != nil {
			fmt.Println("refused:", err) // for the log, not for the client
			continue
		}
		fmt.Println("welcome", user.Username)
	}
	// Output:
	// welcome jane
	// refused: Unauthorized: invalid bearer token
	// refused: Unauthorized
}

// Only to ask what somebody may do: the program has its own way to know who
// asks, which takes the place of the kubelet's. Decisions are not remembered
// for the users of an Authenticator of one's own.
func ExampleAuth_Check_onlyAuthorize() {
	auth, err := kubeletapi.New(kubeletapi.Config{
		AuthorizationMode: kubeletapi.ModeWebhook,
		HostnameOverride:  "n1",
		AccessReviewer:    cluster{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	auth.Authenticator = sessions{"a1b2c3": "jane"}
	for _, path := range []string{"/metrics", "/logs/"} {
		r := httptest.NewRequest("GET", path, nil)
		r.AddCookie(&http.Cookie{Name: "session", Value: "a1b2c3"})
		_, err := auth.Check(r)
		fmt.Println(path, err)
	}
	// Output:
	// /metrics <nil>
	// /logs/ Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[log])
}

// sessions has the user of each session.
type sessions map[string]string

func (s sessions) AuthenticateRequest(r *http.Request) (*authn.UserInfo, bool, error) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return nil, false, nil // no opinion
	}
	name, known := s[cookie.Value]
	if !known {
		return nil, false, fmt.Errorf("unknown session")
	}
	return &authn.UserInfo{Username: name, Groups: []string{authn.GroupAuthenticated}}, true, nil
}

// What a request would ask for, in the kubelet's own table.
func ExampleAuth_Attributes() {
	auth := &kubeletapi.Auth{NodeName: "n1", FineGrained: true}
	for _, a := range auth.Attributes(&authn.UserInfo{Username: "jane"}, httptest.NewRequest("GET", "/pods", nil)) {
		fmt.Println(a.Verb, a.Resource+"/"+a.Subresource, a.Name)
	}
	// Output:
	// get nodes/pods n1
	// get nodes/proxy n1
}

// An API that is not the kubelet's: its paths stand for resources of one's own,
// which a ClusterRole can name.
func ExampleAuth_Handler_ownAttributes() {
	auth, err := kubeletapi.New(kubeletapi.Config{
		AuthenticationTokenWebhook: true,
		AuthorizationMode:          kubeletapi.ModeWebhook,
		TokenReviewer:              cluster{},
		AccessReviewer:             cluster{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	auth.RequestAttributes = func(r *http.Request) authz.Attributes {
		verbs := map[string]string{"GET": "get", "DELETE": "delete"} // another has none: only a rule for verb * allows it
		name, _ := strings.CutPrefix(r.URL.Path, "/volumes/")
		return authz.Attributes{Verb: verbs[r.Method], APIGroup: "agent.example.com", APIVersion: "v1", Resource: "volumes", Name: name}
	}
	handler := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Method, "done") }))
	for _, method := range []string{"GET", "DELETE"} {
		r := httptest.NewRequest(method, "/volumes/disk-7", nil)
		r.Header.Set("Authorization", "Bearer janes-token")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 200 GET done
	// 403 Forbidden (user=jane, verb=delete, resource=volumes, subresource(s)=[])
}

// The filter's metrics on the page of a program that has its own: their names
// begin with those of Kubernetes or with kubeletauth_.
func ExampleAuth_WriteMetrics() {
	auth, err := kubeletapi.New(kubeletapi.Config{AnonymousAuth: true, AuthorizationMode: kubeletapi.ModeAlwaysAllow})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	page := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		io.WriteString(w, "# TYPE agent_volumes gauge\nagent_volumes 7\n") // what the program's own registry writes
		auth.WriteMetrics(w)
	}))
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "agent_") || strings.HasPrefix(line, "kubelet_http_inflight_requests") {
			fmt.Print(line)
		}
	}
	// Output:
	// agent_volumes 7
	// kubelet_http_inflight_requests{method="GET",path="metrics",server_type="readwrite",long_running="false"} 1
}

// Behind something else that ends TLS. The certificate that the client showed
// there never gets here, and a header that tells of it is not believed: anybody
// could send one. Tokens work. They come in the clear, so listen on a loopback
// address or a Unix socket only. All requests have one address then, so that a
// flood of bad tokens slows down all who are not known yet.
func ExampleAuth_Handler_behindTLS() {
	auth, err := kubeletapi.New(kubeletapi.Config{
		AuthenticationTokenWebhook: true,
		AuthorizationMode:          kubeletapi.ModeWebhook,
		HostnameOverride:           "n1",
		TokenReviewer:              cluster{},
		AccessReviewer:             cluster{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	handler := auth.Handler(http.NotFoundHandler())
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("X-Forwarded-Client-Cert", `Subject="CN=jane"`)
	r.Header.Set("X-Remote-User", "jane")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)

	show(handler, "/metrics", "janes-token")
	// Output:
	// 401 Unauthorized
	// 404 404 page not found
}
