package e2e

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

// pageServer is our server, running for the length of a test as a node of its own.
type pageServer struct {
	*ours.Server
	cluster *harness.Cluster
	node    string
}

// pageCaller is what a request shows: nothing, or one or both.
type pageCaller struct {
	certificate *harness.Pair
	token       string
}

// pageNodes counts the nodes, so that each has a name of its own.
var pageNodes atomic.Int64

// startPageServer starts our server with the flags, on loopback. It has the identity of a node, but for that it does
// what it does without flags.
func startPageServer(t *testing.T, c *harness.Cluster, flags ...string) *pageServer {
	t.Helper()
	return startPageServerAt(t, c, ours.Options{}, flags...)
}

// startPageServerAt is startPageServer with options.
func startPageServerAt(t *testing.T, c *harness.Cluster, options ours.Options, flags ...string) *pageServer {
	t.Helper()
	s := &pageServer{cluster: c, node: "page-" + strconv.FormatInt(pageNodes.Add(1), 10)}
	node := []string{"--kubeconfig=" + c.NodeKubeconfig(t, s.node), "--hostname-override=" + s.node}
	s.Server = ours.Start(t, c, options, append(node, flags...)...)
	return s
}

// pageGuarded are the flags of a server that lets nobody in by itself: certificates, tokens, and no anonymous requests.
func pageGuarded(c *harness.Cluster) []string {
	return []string{
		"--anonymous-auth=false",
		"--client-ca-file=" + c.CAFile,
		"--authentication-token-webhook",
		"--authorization-mode=Webhook",
	}
}

// ask sends a request on a connection of its own.
func (s *pageServer) ask(t *testing.T, caller pageCaller, method, path string) harness.Answer {
	t.Helper()
	return s.send(t, s.cluster.HTTPClient(t, caller.certificate), caller.token, method, path)
}

// send sends a request, with a bearer token unless it is empty.
func (s *pageServer) send(t *testing.T, client *http.Client, token, method, path string) harness.Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return harness.Send(t, client, r)
}

// get sends a GET request.
func (s *pageServer) get(t *testing.T, caller pageCaller, path string) harness.Answer {
	t.Helper()
	return s.ask(t, caller, http.MethodGet, path)
}

// pageOwnPaths has a path for each sub-resource of the page's table.
var pageOwnPaths = map[string]string{
	"stats": "/stats/summary", "metrics": "/metrics", "log": "/logs/", "spec": "/spec/", "proxy": "/healthz",
}

// forbidden wants that the server knows the caller as user, and denies verb get on the sub-resource.
func (s *pageServer) forbidden(t *testing.T, caller pageCaller, user, verb, subresource string) {
	t.Helper()
	expect(t, s.get(t, caller, pageOwnPaths[subresource]), http.StatusForbidden, pageForbidden(user, verb, subresource))
}

// pageForbidden is the body of a 403.
func pageForbidden(user, verb string, subresources ...string) string {
	return fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)\n", user, verb, subresources)
}

// unauthorized wants that the server does not know the caller.
func (s *pageServer) unauthorized(t *testing.T, caller pageCaller) {
	t.Helper()
	expect(t, s.get(t, caller, "/metrics"), http.StatusUnauthorized, "Unauthorized")
}

// passes wants that the caller may get the path, whether there is something or not.
func (s *pageServer) passes(t *testing.T, caller pageCaller, path string) {
	t.Helper()
	if answer := s.get(t, caller, path); pageRefused(answer) {
		t.Errorf("GET %s: %d %s", path, answer.Status, answer.Body)
	}
}

// pageRefused tells whether the filter refused a request, in contrast to whatever is behind it.
func pageRefused(answer harness.Answer) bool {
	return slices.Contains([]int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError,
	}, answer.Status)
}

// reviews are those that this server sent since the mark.
func (s *pageServer) reviews(t *testing.T, mark harness.AuditMark) []harness.Review {
	t.Helper()
	return slices.DeleteFunc(s.cluster.ReviewsSince(t, mark), func(review harness.Review) bool {
		return review.User.Username != "system:node:"+s.node
	})
}

// accessReviews are the questions that this server asked since the mark.
func (s *pageServer) accessReviews(t *testing.T, mark harness.AuditMark) []authorizationv1.SubjectAccessReviewSpec {
	t.Helper()
	var specs []authorizationv1.SubjectAccessReviewSpec
	for _, review := range s.reviews(t, mark) {
		if review.Access != nil {
			specs = append(specs, review.Access.Spec)
		}
	}
	return specs
}

// pageIssue issues a certificate.
func pageIssue(t *testing.T, ca *harness.CA, template x509.Certificate) *harness.Pair {
	t.Helper()
	pair, err := ca.Issue(template)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// pageStranger is a client certificate of another authority.
func pageStranger(t *testing.T) *harness.Pair {
	t.Helper()
	ca, err := harness.NewCA("stranger")
	if err != nil {
		t.Fatal(err)
	}
	return pageIssue(t, ca, harness.ClientTemplate("page-stranger", "system:masters"))
}

// pageWithin waits until done, at most for the time that is given, and returns how long it took.
func pageWithin(t *testing.T, limit time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(began).Round(10 * time.Millisecond)
}
