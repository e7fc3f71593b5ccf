package authz_test

import (
	"context"
	"encoding/json"
	"fmt"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// oneRule stands for an API server with one rule.
type oneRule struct{}

func (oneRule) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	question, _ := json.Marshal(spec)
	fmt.Println(string(question))
	return &authz.SubjectAccessReviewStatus{Allowed: spec.User == "jane", Reason: "jane may"}, nil
}

func ExampleWebhook() {
	authorizer := authz.Webhook{Reviewer: oneRule{}}
	decision, reason, err := authorizer.Authorize(context.Background(), authz.Attributes{
		User: &authn.UserInfo{Username: "jane"}, Verb: "get", APIVersion: "v1",
		Resource: "nodes", Subresource: "metrics", Name: "n1",
	})
	fmt.Println(decision, reason, err)
	// Output:
	// {"resourceAttributes":{"verb":"get","version":"v1","resource":"nodes","subresource":"metrics","name":"n1"},"user":"jane"}
	// allow jane may <nil>
}
