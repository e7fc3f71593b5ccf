// Package apiservertest is a stand-in for a Kubernetes API server, and a
// certificate authority to go with it: for tests, demonstrations, and nothing
// that guards anything.
//
// The server answers TokenReviews and SubjectAccessReviews over HTTPS, in v1
// and v1beta1, in the JSON that kube-apiserver speaks, and is as strict about
// what it is sent. Say who its tokens belong to, what they may do, and which
// kubeconfig the client under test should use:
//
//	api := apiservertest.MustStart(t, apiservertest.Config{})
//	api.SetToken("jane-token", authn.UserInfo{Username: "jane"})
//	api.AllowUser("jane", "get", "metrics")
//	os.WriteFile(path, api.Kubeconfig(""), 0o600)
//
// Everything can be changed while it serves: tokens, rules, the credentials
// that it accepts from its own client, its certificate. [Server.Inject] makes
// it slow, wrong or broken; [Server.Stop] and [Server.Restart] make an outage, and
// [Server.SetSilent] loses the network; [Server.Count] and [Server.Reviews] tell
// what it was asked.
//
// The package does not import package testing: outside of tests, use [Start]
// and [NewCA] in place of the Must functions.
//
// # What it leaves out
//
// It speaks no protobuf or YAML, sends no managed fields or warnings, and
// ignores selectors. No user is almighty: system:masters needs a rule like
// everyone. JSON field names are matched without regard to case.
package apiservertest
