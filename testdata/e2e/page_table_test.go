package e2e

import (
	"net/http"
	"slices"
	"testing"

	"kubeletauth/testdata/e2e/internal/harness"
)

// pageVerbs are the verbs of the page's table, and the one that a role has for all of them.
var pageVerbs = []string{"create", "get", "update", "patch", "delete", "*"}

// pageMethods are the methods of the page's table, and some without a verb.
var pageMethods = []string{
	http.MethodPost, http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodOptions, http.MethodTrace, "PROPFIND",
}

// pageVerbOf is the page's table of verbs. Its other methods have none.
var pageVerbOf = map[string]string{
	http.MethodPost: "create", http.MethodGet: "get", http.MethodHead: "get", http.MethodPut: "update",
	http.MethodPatch: "patch", http.MethodDelete: "delete",
}

// pagePaths is the page's table of paths, and, under fine, what the kubelet asks for in the order in which it does.
var pagePaths = []struct {
	path string
	page string
	fine []string // nil is what the page says
}{
	{"/stats", "stats", nil},
	{"/stats/", "stats", nil},
	{"/stats/summary", "stats", nil},
	{"/stats/summary/a/b", "stats", nil},
	{"/metrics", "metrics", nil},
	{"/metrics/", "metrics", nil},
	{"/metrics/cadvisor", "metrics", nil},
	{"/metrics/resource", "metrics", nil},
	{"/logs", "log", nil},
	{"/logs/", "log", nil},
	{"/logs/pods/a.log", "log", nil},
	{"/spec", "spec", nil},
	{"/spec/", "spec", nil},
	{"/spec/a", "spec", nil},
	{"/", "proxy", nil},
	{"/statsx", "proxy", nil},
	{"/Metrics", "proxy", nil},
	{"/log", "proxy", nil},
	{"/a/stats", "proxy", nil},
	{"/nowhere", "proxy", nil},
	{"/exec/ns/pod/container", "proxy", nil},
	{"/run/ns/pod/container", "proxy", nil},
	{"/attach/ns/pod/container", "proxy", nil},
	{"/portForward/ns/pod", "proxy", nil},
	{"/containerLogs/ns/pod/container", "proxy", nil},
	{"/debug/pprof/heap", "proxy", nil},
	{"/healthz", "proxy", []string{"healthz", "proxy"}},
	{"/healthz/ping", "proxy", []string{"healthz", "proxy"}},
	{"/configz", "proxy", []string{"configz", "proxy"}},
	{"/pods", "proxy", []string{"pods", "proxy"}},
	{"/runningpods/", "proxy", []string{"pods", "proxy"}},
	{"/allocatedPods", "proxy", []string{"pods", "proxy"}},
	{"/flagz", "proxy", []string{"configz"}},
	{"/statusz", "proxy", []string{"statusz"}},
	{"/checkpoint/ns/pod/container", "proxy", []string{"checkpoint"}},
}

// pageTable is one of the two tables of paths: what each path asks for, in the order in which that is asked.
type pageTable map[string][]string

// pageTables shows every verb with every sub-resource in both tables.
func pageTables(t *testing.T, c *harness.Cluster) {
	page, fine := pageTable{}, pageTable{}
	for _, row := range pagePaths {
		page[row.path] = []string{row.page}
		if fine[row.path] = row.fine; row.fine == nil {
			fine[row.path] = page[row.path]
		}
	}
	t.Run("of the page", func(t *testing.T) { page.show(t, c, "page") })
	t.Run("of the kubelet", func(t *testing.T) { fine.show(t, c, "fine", "--feature-gates=KubeletFineGrainedAuthz=true") })
}

// show runs a user for each verb and sub-resource whose role grants just that, and one without a role.
func (table pageTable) show(t *testing.T, c *harness.Cluster, prefix string, flags ...string) {
	s := startPageServer(t, c, append(pageGuarded(c), flags...)...)
	t.Run("group", func(t *testing.T) { // ends when all of its parallel subtests have
		t.Run("nothing", func(t *testing.T) {
			t.Parallel()
			pageHolder{user: prefix + "-nothing"}.tryAll(t, s, table)
		})
		for _, verb := range pageVerbs {
			for _, subresource := range table.subresources() {
				t.Run(verb+" "+subresource, func(t *testing.T) {
					t.Parallel()
					h := pageHolder{user: prefix + "-" + verb + "-" + subresource, verb: verb, subresource: subresource}
					c.Grant(t, harness.User(h.user), harness.Nodes(verb, subresource))
					h.tryAll(t, s, table)
				})
			}
		}
	})
}

// subresources are all that a table knows.
func (table pageTable) subresources() []string {
	var all []string
	for _, asked := range table {
		all = append(all, asked...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// pageHolder is a user who may use one verb on one sub-resource.
type pageHolder struct {
	user, verb, subresource string
}

// tryAll sends a request with every method to every path.
func (h pageHolder) tryAll(t *testing.T, s *pageServer, table pageTable) {
	client := s.cluster.HTTPClient(t, s.cluster.ClientCertificate(t, h.user))
	for _, method := range pageMethods {
		for path, asked := range table {
			h.try(t, method, path, asked, s.send(t, client, "", method, path))
		}
	}
}

// try wants that the answer is what the role says.
func (h pageHolder) try(t *testing.T, method, path string, asked []string, answer harness.Answer) {
	t.Helper()
	verb := pageVerbOf[method]
	if slices.Contains(asked, h.subresource) && (h.verb == verb || h.verb == "*") {
		if pageRefused(answer) {
			t.Errorf("%s %s: %d %s", method, path, answer.Status, answer.Body)
		}
		return
	}
	body := pageForbidden(h.user, verb, asked...)
	if method == http.MethodHead {
		body = ""
	}
	if answer.Status != http.StatusForbidden || answer.Body != body {
		t.Errorf("%s %s: %d %q, want 403 %q", method, path, answer.Status, answer.Body, body)
	}
}
