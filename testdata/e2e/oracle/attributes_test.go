package oracle

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/pkg/kubelet/server"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestAttributes compares what a method and a path ask for with the kubelet's fine-grained table.
func TestAttributes(t *testing.T) {
	s := generate.New(t)
	ctx := context.Background()
	auth := &kubeletapi.Auth{NodeName: "node-1", FineGrained: true}
	kubelet := server.NewNodeAuthorizerAttributesGetter(types.NodeName("node-1"))
	caller := &user.DefaultInfo{Name: "jane", UID: "7", Groups: []string{"dev"}, Extra: map[string][]string{"k": {"v"}}}
	ours := ourUser(caller)
	run(t, 400_000, func() string {
		method, path := anyMethod(s), anyPath(s)
		r := &http.Request{Method: asKubelet(method), URL: &url.URL{Path: path}}
		want := kubeletAttributes(kubelet.GetRequestAttributes(ctx, caller, r), path)
		got := ourAttributes(auth, &ours, method, path)
		if got == want {
			return ""
		}
		return fmt.Sprintf("%q %q: %v, want %v", method, path, got, want)
	})
}

// asKubelet is the method for which the kubelet's table says what the page says for this one.
// README: "HEAD | empty verb | get, as the page says".
func asKubelet(method string) string {
	if method == http.MethodHead {
		return http.MethodGet
	}
	return method
}

// attributes are those of a request in a comparable form; a request has at most two.
type attributes struct {
	count int
	list  [2]attribute
}

// attribute has all fields of attributes that are not selectors, which have to be absent.
type attribute struct {
	user, verb, namespace, group, version, resource, subresource, name, path string

	isResource bool
}

// kubeletAttributes are the kubelet's, and its table as the page has it.
// README: "/spec/* | proxy | nodes/spec, as the page says".
func kubeletAttributes(list []authorizer.Attributes, path string) (a attributes) {
	for i, each := range list {
		subresource := each.GetSubresource()
		if path == "/spec" || strings.HasPrefix(path, "/spec/") {
			subresource = "spec"
		}
		u := ourUser(each.GetUser())
		a.list[i] = attribute{
			userText(&u), each.GetVerb(), each.GetNamespace(), each.GetAPIGroup(), each.GetAPIVersion(),
			each.GetResource(), subresource, each.GetName(), each.GetPath(), each.IsResourceRequest(),
		}
		a.count++
	}
	return a
}

// ourAttributes are ours.
func ourAttributes(auth *kubeletapi.Auth, caller *authn.UserInfo, method, path string) (a attributes) {
	for i, each := range auth.Attributes(caller, &http.Request{Method: method, URL: &url.URL{Path: path}}) {
		a.list[i] = attribute{
			userText(each.User), each.Verb, each.Namespace, each.APIGroup, each.APIVersion,
			each.Resource, each.Subresource, each.Name, each.Path, each.Resource != "",
		}
		if each.FieldSelector != nil || each.LabelSelector != nil {
			a.list[i].name += " with a selector"
		}
		a.count++
	}
	return a
}

// userText tells two users apart.
func userText(u *authn.UserInfo) string {
	return u.Username + "/" + u.UID + "/" + strings.Join(u.Groups, ",") + "/" + strings.Join(u.Extra["k"], ",")
}

// anyMethod is a method, mostly one that means something.
func anyMethod(s *generate.Source) string {
	method := generate.Pick(s, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "LIST", "WATCH", "")
	switch s.IntN(8) {
	case 0:
		return s.MixCase(method)
	case 1:
		return s.Mangle(method)
	}
	return method
}

// anyPath is a decoded path, mostly one near the table.
func anyPath(s *generate.Source) string {
	known := generate.Pick(s, "stats", "metrics", "logs", "spec", "checkpoint", "statusz", "flagz", "pods", "runningpods",
		"runningPods", "allocatedPods", "healthz", "configz", "exec", "run", "attach", "portForward", "containerLogs", "debug", "")
	path := generate.Pick(s, "/", "/", "/", "//", "", "/./", "/../") + known +
		generate.Pick(s, "", "", "/", "//", "/..", "/./", "x", "%2f", "?", "\x00", "/ns/pod") +
		s.Text(3, "/", "summary", "..", ".", "pods", "/stats", "é", "\\", "\xff", " ")
	switch s.IntN(6) {
	case 0:
		return s.MixCase(path)
	case 1:
		return s.Mangle(path)
	}
	return path
}
