package apiservertest_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"

	"kubeletauth/authn"
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
