package kubeletapi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/testdata/vectors"
)

func TestSubpathVectors(t *testing.T) {
	vectors.Run(t, "subpath", "kubeletapi", 47, func(t *testing.T, input, expect *vectors.Object) {
		path, registered := vectors.Or(input, "request_path", ""), vectors.Or(input, "registered_path", "")
		if got, want := isSubpath(path, strings.TrimSuffix(registered, "/")), vectors.Or(expect, "match", false); got != want {
			t.Errorf("isSubpath(%q, %q) = %t, want %t", path, registered, got, want)
		}
	})
}

func TestAttributesVectors(t *testing.T) {
	vectors.Run(t, "attributes", "kubeletapi", 103, func(t *testing.T, input, expect *vectors.Object) {
		auth := &Auth{
			NodeName:    vectors.Or(input, "node_name", "n1"),
			FineGrained: fineGrained(t, input),
		}
		if input.Has("methods") {
			checkCross(t, auth, input, expect)
			return
		}
		user := &authn.UserInfo{Username: vectors.Or(input, "user", "u")}
		got := auth.Attributes(user, request(vectors.Or(input, "method", ""), vectors.Or(input, "url_path", "")))
		var want []attributesRow
		expect.Get("attributes", &want)
		if diff := cmp.Diff(want, asRows(got)); diff != "" {
			t.Errorf("attributes (-want +got):\n%s", diff)
		}
		for _, a := range got {
			if a.User != user || a.FieldSelector != nil || a.LabelSelector != nil {
				t.Errorf("user %v, selectors %v and %v", a.User, a.FieldSelector, a.LabelSelector)
			}
		}
	})
}

// fineGrained reports which table a row is about: the kubelet's, unless it says
// the page's.
func fineGrained(t *testing.T, input *vectors.Object) bool {
	t.Helper()
	switch table := vectors.Or(input, "table", "kubelet"); table {
	case "kubelet":
		return true
	case "page":
	default:
		t.Fatalf("unknown table %q", table)
	}
	return false
}

// attributesRow is authz.Attributes in a row.
type attributesRow struct {
	Verb            string `json:"verb"`
	APIGroup        string `json:"apiGroup"`
	APIVersion      string `json:"apiVersion"`
	Namespace       string `json:"namespace"`
	Resource        string `json:"resource"`
	Subresource     string `json:"subresource"`
	Name            string `json:"name"`
	ResourceRequest bool   `json:"resourceRequest"`
	Path            string `json:"path"`
}

func asRows(list []authz.Attributes) (rows []attributesRow) {
	for _, a := range list {
		rows = append(rows, attributesRow{a.Verb, a.APIGroup, a.APIVersion, a.Namespace, a.Resource, a.Subresource, a.Name, a.Resource != "", a.Path})
	}
	return rows
}

// checkCross checks a row for many methods, a verb for each, on many paths with
// the same subresources.
func checkCross(t *testing.T, auth *Auth, input, expect *vectors.Object) {
	t.Helper()
	methods, verbs := vectors.Or[[]string](input, "methods", nil), vectors.Or[[]string](expect, "verbs", nil)
	paths, subresources := vectors.Or[[]string](input, "paths", nil), vectors.Or[[]string](expect, "subresources", nil)
	if len(methods) != len(verbs) || len(paths) == 0 {
		t.Fatalf("%d methods, %d verbs, %d paths", len(methods), len(verbs), len(paths))
	}
	for i, method := range methods {
		for _, path := range paths {
			var want []attributesRow
			for _, s := range subresources {
				want = append(want, attributesRow{verbs[i], "", "v1", "", "nodes", s, "n1", true, path})
			}
			if diff := cmp.Diff(want, asRows(auth.Attributes(nil, request(method, path)))); diff != "" {
				t.Errorf("%s %q (-want +got):\n%s", method, path, diff)
			}
		}
	}
}

func request(method, path string) *http.Request {
	return &http.Request{Method: method, URL: &url.URL{Path: path}}
}
