package apiservertest_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
)

func Example() {
	api, err := apiservertest.Start(apiservertest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer api.Close()
	api.SetToken("jane-token", authn.UserInfo{Username: "jane", Groups: []string{"dev"}})

	// What a client does that was given api.Kubeconfig("").
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: api.CA.Pool()}}}
	defer client.CloseIdleConnections()
	ask := func(token string) {
		r, _ := http.NewRequest("POST", api.URL+"/apis/authentication.k8s.io/v1/tokenreviews",
			strings.NewReader(`{"spec":{"token":"`+token+`"}}`))
		r.Header.Set("Authorization", "Bearer "+api.ClientToken())
		response, err := client.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		_, status, _ := strings.Cut(string(body), `"status":`)
		fmt.Print(response.StatusCode, " ", status)
	}
	ask("jane-token")
	ask("garbage")
	api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Times: 1, Status: 503, Body: "\"status\":down\n"})
	ask("jane-token")
	fmt.Println(api.Count(apiservertest.TokenReviews), "reviews")
	// Output:
	// 201 {"authenticated":true,"user":{"username":"jane","groups":["dev"]},"audiences":["https://kubernetes.default.svc.cluster.local"]}}
	// 201 {"user":{},"error":"invalid bearer token"}}
	// 503 down
	// 3 reviews
}

// What the test of a program looks like: its handler, behind the filter it will
// have, with an API server that says what the test wants. With a *testing.T,
// MustStart and t.TempDir clean up by themselves.
func Example_guardedHandler() {
	api, err := apiservertest.Start(apiservertest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer api.Close()
	api.SetToken("jane-token", authn.UserInfo{Username: "jane"})
	api.AllowUser("jane", "get", "metrics")

	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, api.Kubeconfig(""), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	auth, err := kubeletapi.New(kubeletapi.Config{
		AuthenticationTokenWebhook: true,
		AuthorizationMode:          kubeletapi.ModeWebhook,
		HostnameOverride:           "n1",
		Kubeconfig:                 kubeconfig,
		Logger:                     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	handler := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "served") }))
	for _, path := range []string{"/metrics", "/metrics", "/logs/"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer jane-token")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Print(path, ": ", w.Code, " ", w.Body)
	}
	fmt.Println(api.Count(apiservertest.TokenReviews), "token and", api.Count(apiservertest.SubjectAccessReviews), "accesses reviewed")
	// Output:
	// /metrics: 200 served
	// /metrics: 200 served
	// /logs/: 403 Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[log])
	// 1 token and 2 accesses reviewed
}
