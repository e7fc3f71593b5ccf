package kubeletapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
)

// The whole embedding: a node agent's mux, with the kubelet's rules in front.
func Example() {
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
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 hello system:anonymous
	// 403 Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[proxy])
	//
	// 400 Bad Request
}

type onlyMetrics struct{}

func (onlyMetrics) Authorize(_ context.Context, a authz.Attributes) (authz.Decision, string, error) {
	if a.Verb == "get" && a.Subresource == "metrics" {
		return authz.DecisionAllow, "metrics are for everyone", nil
	}
	return authz.DecisionNoOpinion, "", nil
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
