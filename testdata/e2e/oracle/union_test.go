package oracle

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/user"

	"kubeletauth/authn"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestUnion compares chains of authenticators: a union, the group of everyone who was recognized, and anonymous requests
// behind it, as the kubelet builds them.
func TestUnion(t *testing.T) {
	s := generate.New(t)
	r := &http.Request{Header: http.Header{}, URL: new(url.URL)}
	run(t, 300_000, func() string {
		ours, kubernetes := chain(s)
		return answerDiff(kubernetesAnswer(kubernetes, r), ourAnswer(ours, r))
	})
}

// chain is the same chain twice.
func chain(s *generate.Source) (authn.Authenticator, authenticator.Request) {
	var ours []authn.Authenticator
	var kubernetes []authenticator.Request
	for range s.Upto(4) {
		m := anyMember(s)
		ours, kubernetes = append(ours, m), append(kubernetes, kubernetesMember{m})
	}
	a, k := authn.Union(ours...), union.New(kubernetes...)
	if !s.Chance(4) {
		a, k = authn.AddAuthenticatedGroup(a), group.NewAuthenticatedGroupAdder(k)
	}
	if s.Chance(2) {
		a, k = authn.OrAnonymous(a), union.NewFailOnError(k, anonymous.NewAuthenticator(nil))
	}
	return a, k
}

// member is an authenticator with one answer.
type member struct {
	user *authn.UserInfo
	ok   bool
	err  error
}

// anyMember is a member with one of the three answers.
func anyMember(s *generate.Source) member {
	switch s.IntN(3) {
	case 0:
		return member{}
	case 1:
		return member{err: errors.New(generate.Pick(s, "one", "two", "three", "", "[one, two]"))}
	}
	return member{user: anyUser(s), ok: true}
}

// anyUser is a user, perhaps one with a name or a group that means something.
func anyUser(s *generate.Source) *authn.UserInfo {
	u := &authn.UserInfo{Username: generate.Pick(s, "jane", "system:anonymous", "", "system:node:n"), UID: generate.Pick(s, "", "7")}
	u.Groups = generate.List(s, 3, func() string {
		return generate.Pick(s, "dev", "system:authenticated", "system:unauthenticated", "system:masters", "", "dev")
	})
	if s.Chance(2) {
		u.Extra = map[string][]string{}
		for range s.Upto(2) {
			u.Extra[generate.Pick(s, "k", "authentication.kubernetes.io/credential-id", "")] = generate.List(s, 2, func() string { return s.Text(2, "v", "w") })
		}
	}
	return u
}

func (m member) AuthenticateRequest(*http.Request) (*authn.UserInfo, bool, error) {
	return m.user, m.ok, m.err
}

// kubernetesMember is a member for Kubernetes.
type kubernetesMember struct{ member }

func (m kubernetesMember) AuthenticateRequest(*http.Request) (*authenticator.Response, bool, error) {
	if m.user == nil {
		return nil, m.ok, m.err
	}
	return &authenticator.Response{User: &user.DefaultInfo{
		Name: m.user.Username, UID: m.user.UID, Groups: m.user.Groups, Extra: m.user.Extra,
	}}, m.ok, m.err
}
