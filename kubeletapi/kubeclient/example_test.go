package kubeclient_test

import (
	"context"
	"errors"
	"fmt"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/kubeclient"
)

// A client is made once and asked by many; errors.As tells an answer that is no
// review from no answer at all.
func Example() {
	client, err := kubeclient.New(kubeclient.Config{Kubeconfig: "testdata/k3s.yaml"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println("asking", client.Server())

	ctx, cancel := context.WithCancel(context.Background())
	cancel() // the example has no API server
	_, err = client.ReviewToken(ctx, authn.TokenReviewSpec{Token: "eyJhbGciOi..."})
	var status *kubeclient.StatusError
	fmt.Println(errors.As(err, &status), errors.Is(err, context.Canceled))
	// Output:
	// asking https://127.0.0.1:6443
	// false true
}
