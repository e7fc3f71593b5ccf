package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/upstream"
)

func Example() {
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.URL.Path, r.Header.Get("X-Remote-User"))
	}))
	defer exporter.Close()
	proxy, err := upstream.New(upstream.Config{URL: exporter.URL, IdentityHeaders: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	auth := &kubeletapi.Auth{Authenticator: authn.Anonymous{}, Authorizer: authz.AlwaysAllow{}}
	server := httptest.NewServer(auth.Handler(proxy))
	defer server.Close()

	response, err := http.Get(server.URL + "/metrics")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Println(response.StatusCode, string(body))
	// Output: 200 /metrics for system:anonymous
}
