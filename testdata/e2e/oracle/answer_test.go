package oracle

import (
	"net/http"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"kubeletauth/authn"
)

// answer is what an authenticator said, ours or Kubernetes'.
type answer struct {
	OK    bool
	Error string
	User  authn.UserInfo // if OK
}

// ourAnswer asks an authenticator of ours.
func ourAnswer(a authn.Authenticator, r *http.Request) answer {
	u, ok, err := a.AuthenticateRequest(r)
	return newAnswer(u, ok, err)
}

// newAnswer is an answer of ours.
func newAnswer(u *authn.UserInfo, ok bool, err error) answer {
	got := answer{OK: ok, Error: errorText(err)}
	if ok && u != nil {
		got.User = *u
	}
	return got
}

// kubernetesAnswer asks an authenticator of Kubernetes.
func kubernetesAnswer(a authenticator.Request, r *http.Request) answer {
	response, ok, err := a.AuthenticateRequest(r)
	return newKubernetesAnswer(response, ok, err)
}

// newKubernetesAnswer is an answer of Kubernetes.
func newKubernetesAnswer(response *authenticator.Response, ok bool, err error) answer {
	want := answer{OK: ok, Error: errorText(err)}
	if ok && response != nil {
		want.User = ourUser(response.User)
	}
	return want
}

// ourUser is a user of Kubernetes in our type.
func ourUser(u user.Info) authn.UserInfo {
	return authn.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}
}

// errorText is the text of an error, or "no error".
func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return "error " + err.Error()
}

// answerDiff is empty if both are the same. An empty list and none are not, as reviews show them differently.
func answerDiff(want, got answer) string {
	if want.OK == got.OK && want.Error == got.Error && !want.OK {
		return ""
	}
	return cmp.Diff(want, got)
}
