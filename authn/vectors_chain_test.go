package authn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/testdata/vectors"
)

func TestChainVectors(t *testing.T) {
	vectors.Run(t, "chain", "authn", 71, func(t *testing.T, input, expect *vectors.Object) {
		if input.Has("members") {
			checkUnion(t, input, expect)
			return
		}
		tokens := &tokenTable{}
		r := &http.Request{Header: http.Header{}}
		vectors.Present(r.Header, input)
		before := r.Header.Clone()
		u, ok, err := newChain(t, r, tokens, input).AuthenticateRequest(r)
		if ok != (u != nil) || u != nil && err != nil {
			t.Errorf("got %v, %t, %v", u, ok, err)
		}
		checkRefused(t, ok, err, expect)
		checkChainUser(t, u, expect)
		if want := vectors.Or(expect, "tokenreviews", tokens.asked); tokens.asked != want {
			t.Errorf("%d tokens asked about, want %d", tokens.asked, want)
		}
		checkAuthorization(t, before, r.Header, vectors.Or(expect, "authorization_header_after", ""))
		expect.Elsewhere("body", "headers", "headers_absent", "startup")
	})
}

// tokenTable is a TokenAuthenticator of the tokens that rows know.
type tokenTable struct{ asked int }

func (a *tokenTable) AuthenticateToken(_ context.Context, token string) (*authn.UserInfo, bool, error) {
	a.asked++
	switch token {
	case "good":
		return &authn.UserInfo{Username: "token user"}, true, nil
	case "expired":
		return nil, false, &authn.InvalidTokenError{Reason: "token has expired"}
	case "outage":
		return nil, false, errors.New("the review failed")
	}
	return nil, false, nil
}

// newChain is the kubelet's chain, in the configuration of a row. It adds the
// certificate of the row to r.
func newChain(t *testing.T, r *http.Request, tokens authn.TokenAuthenticator, input *vectors.Object) authn.Authenticator {
	t.Helper()
	ca := apiservertest.MustNewCA(t, "client CA")
	if name := vectors.Or(input, "cert", ""); name != "" {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{chainCertificate(t, ca, name)}}
	}
	var roots func() *x509.CertPool
	if vectors.Or(input, "clientCAFile", "given") != "" {
		roots = ca.Pool
	}
	members := []authn.Authenticator{authn.X509{Roots: roots}}
	if vectors.Or(input, "webhook", true) {
		members = append(members, authn.BearerToken{Tokens: tokens}, authn.WebSocketProtocol{Tokens: tokens})
	}
	chain := authn.AddAuthenticatedGroup(authn.Union(members...))
	if vectors.Or(input, "anonymous", false) {
		chain = authn.OrAnonymous(chain)
	}
	return chain
}

func chainCertificate(t *testing.T, ca *apiservertest.CA, name string) *x509.Certificate {
	t.Helper()
	c := apiservertest.Certificate{CommonName: "certificate user"}
	switch name {
	case "good":
	case "unknown CA":
		ca = apiservertest.MustNewCA(t, "other CA")
	case "expired":
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	case "no name":
		c.CommonName = ""
	case "two UIDs":
		c.UIDs = []string{"a", "b"}
	default:
		t.Fatalf("unknown certificate %q", name)
	}
	return ca.MustIssue(t, c).Leaf
}

// checkRefused checks the error, and that a row which expects 401 has no user.
func checkRefused(t *testing.T, ok bool, err error, expect *vectors.Object) {
	t.Helper()
	status := vectors.Or(expect, "status", vectors.Or(expect, "every_request", 200))
	if ok != (status == http.StatusOK) {
		t.Errorf("got a user: %t; want status %d", ok, status)
	}
	var message *string
	switch given := expect.Get("logged_error", &message); {
	case given && message == nil && err != nil:
		t.Errorf("error %v, want none", err)
	case message != nil && (err == nil || !vectors.Like(err.Error(), *message)):
		t.Errorf("error %v, want %s", err, *message)
	}
}

func checkChainUser(t *testing.T, u *authn.UserInfo, expect *vectors.Object) {
	t.Helper()
	want := &authn.UserInfo{}
	if u != nil {
		*want = *u
	}
	want.Username = vectors.Or(expect, "user", vectors.Or(expect, "result", want.Username))
	expect.Get("groups", &want.Groups)
	expect.Get("extra", &want.Extra)
	if u == nil {
		u = &authn.UserInfo{}
	}
	if diff := cmp.Diff(want, u); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
}

func checkAuthorization(t *testing.T, before, after http.Header, what string) {
	t.Helper()
	want := before.Values("Authorization")
	switch what {
	case "":
		return
	case "removed":
		want = nil
	case "unchanged":
	default:
		t.Fatalf("unknown %q", what)
	}
	if diff := cmp.Diff(want, after.Values("Authorization")); diff != "" {
		t.Errorf("Authorization (-want +got):\n%s", diff)
	}
}

// member is an Authenticator with one answer: "none", "user NAME" or "error
// MESSAGE".
type member struct {
	answer string
	asked  *int
}

func (a member) AuthenticateRequest(*http.Request) (*authn.UserInfo, bool, error) {
	*a.asked++
	switch kind, text, _ := strings.Cut(a.answer, " "); kind {
	case "user":
		return &authn.UserInfo{Username: a.answer}, true, nil
	case "error":
		return nil, false, errors.New(text)
	}
	return nil, false, nil
}

func checkUnion(t *testing.T, input, expect *vectors.Object) {
	t.Helper()
	asked := 0
	var members []authn.Authenticator
	for _, answer := range vectors.Or[[]string](input, "members", nil) {
		members = append(members, member{answer, &asked})
	}
	a := authn.Union(members...)
	if kind := vectors.Or(input, "union", ""); kind != "inner" {
		a = authn.OrAnonymous(a)
	}
	u, ok, err := a.AuthenticateRequest(&http.Request{})
	checkError(t, err, expect)
	if ok != (u != nil) || u != nil && err != nil {
		t.Errorf("got %v, %t, %v", u, ok, err)
	}
	got := "no-opinion"
	if u != nil {
		got = u.Username
	}
	if want := vectors.Or(expect, "result", "no-opinion"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want := vectors.Or(expect, "asked", 0); asked != want {
		t.Errorf("%d members asked, want %d", asked, want)
	}
}
