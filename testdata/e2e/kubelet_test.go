package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kubeletauth/testdata/e2e/internal/harness"
)

func TestRealKubelet(t *testing.T) {
	c := theCluster(t)
	kubelet := c.StartKubelet(t, harness.KubeletOptions{})
	client := c.HTTPClient(t, nil)

	t.Run("no credentials", func(t *testing.T) {
		expect(t, harness.Get(t, client, kubelet.URL+"/pods", ""), http.StatusUnauthorized, "Unauthorized")
	})
	t.Run("a token that may not", func(t *testing.T) {
		sa := c.CreateServiceAccount(t, "stranger")
		expect(t, harness.Get(t, client, kubelet.URL+"/pods", c.RequestToken(t, sa, 0)), http.StatusForbidden,
			"Forbidden (user="+sa.Username()+", verb=get, resource=nodes, subresource(s)=[pods proxy])\n")
	})
	t.Run("a token that may", func(t *testing.T) {
		sa := c.CreateServiceAccount(t, "reader")
		c.Grant(t, sa.Subject(), harness.Nodes("get", "pods"))
		mark := c.AuditMark(t)
		answer := harness.Get(t, client, kubelet.URL+"/pods", c.RequestToken(t, sa, 0))
		if answer.Status != http.StatusOK {
			t.Fatalf("%d %s", answer.Status, answer.Body)
		}
		var pods corev1.PodList
		if err := json.Unmarshal([]byte(answer.Body), &pods); err != nil || pods.Kind != "PodList" {
			t.Errorf("not a list of pods (%v): %s", err, answer.Body)
		}
		expectReviews(t, c.ReviewsSince(t, mark), kubelet.NodeName, sa.Username())
	})
	t.Run("a client certificate that may", func(t *testing.T) {
		c.Grant(t, harness.User("jane"), harness.Nodes("get", "healthz"))
		withCertificate := c.HTTPClient(t, c.ClientCertificate(t, "jane"))
		expect(t, harness.Get(t, withCertificate, kubelet.URL+"/healthz", ""), http.StatusOK, "ok")
	})
	t.Run("through the API server", func(t *testing.T) {
		if got := c.AdminKubectl(t, "get", "--raw", "/api/v1/nodes/"+kubelet.NodeName+"/proxy/healthz"); got != "ok" {
			t.Errorf("kubectl got %q", got)
		}
	})
}

// expect compares the status and the whole body of an answer.
func expect(t *testing.T, answer harness.Answer, status int, body string) {
	t.Helper()
	if answer.Status != status || answer.Body != body {
		t.Errorf("got %d %q, want %d %q", answer.Status, answer.Body, status, body)
	}
}

// expectReviews wants that the node sent one review of a token and one of access to its pods, and both went well.
func expectReviews(t *testing.T, reviews []harness.Review, node, user string) {
	t.Helper()
	var sent []harness.Review
	for _, review := range reviews {
		if review.User.Username == "system:node:"+node {
			sent = append(sent, review)
		}
	}
	if len(sent) != 2 || sent[0].Token == nil || sent[1].Access == nil {
		t.Fatalf("the kubelet sent %+v", sent)
	}
	if !sent[0].Token.Status.Authenticated || sent[0].Token.Status.User.Username != user {
		t.Errorf("the token review is %+v", sent[0].Token)
	}
	access := sent[1].Access.Spec
	if !sent[1].Access.Status.Allowed || access.User != user || access.ResourceAttributes.Name != node || access.ResourceAttributes.Subresource != "pods" {
		t.Errorf("the access review is %+v", sent[1].Access)
	}
	if !strings.HasPrefix(sent[0].UserAgent, "kubelet/v1.37.") {
		t.Errorf("the user agent is %q", sent[0].UserAgent)
	}
}
