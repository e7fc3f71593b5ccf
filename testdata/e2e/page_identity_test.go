package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"kubeletauth/testdata/e2e/internal/harness"
)

// pageIdentities shows who our server may be for the API server: a node, or anyone whom system:auth-delegator is bound
// to. Anyone else cannot decide anything, and the log says what is missing.
func pageIdentities(t *testing.T, c *harness.Cluster) {
	delegator := c.CreateServiceAccount(t, "page-delegator")
	c.BindClusterRole(t, delegator.Subject(), "system:auth-delegator")
	for _, rule := range pageReviewRules() {
		c.AwaitAccess(t, delegator.Subject(), rule, true)
	}
	stranger := c.CreateServiceAccount(t, "page-no-delegator")
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(c.RequestToken(t, delegator, 0)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, identity := range map[string]struct {
		credentials harness.Credentials
		user        string
	}{
		"a node":                        {harness.Credentials{Certificate: c.ClientCertificate(t, "system:node:page-own", "system:nodes")}, "system:node:page-own"},
		"a delegator with a token":      {harness.Credentials{Token: c.RequestToken(t, delegator, 0)}, delegator.Username()},
		"a delegator with a token file": {harness.Credentials{TokenFile: tokenFile}, delegator.Username()},
	} {
		t.Run(name, func(t *testing.T) { pageCanDecide(t, c, identity.credentials, identity.user) })
	}
	t.Run("no delegator", func(t *testing.T) {
		pageCannotDecide(t, c, harness.Credentials{Token: c.RequestToken(t, stranger, 0)}, stranger.Username())
	})
	t.Run("nobody", func(t *testing.T) { pageUnknown(t, c) })
}

// pageReviewRules are what system:auth-delegator allows.
func pageReviewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}},
		{Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}},
	}
}

// pageCanDecide wants that a server with the credentials knows a token and denies it something, as the user.
func pageCanDecide(t *testing.T, c *harness.Cluster, credentials harness.Credentials, user string) {
	s := startPageServer(t, c, append(pageGuarded(c), "--kubeconfig="+c.Kubeconfig(t, "own", credentials))...)
	sa := c.CreateServiceAccount(t, "page-decided")
	mark := c.AuditMark(t)
	s.forbidden(t, pageCaller{token: c.RequestToken(t, sa, 0)}, sa.Username(), "get", "stats")
	reviews := 0
	for _, review := range c.ReviewsSince(t, mark) {
		if review.User.Username == user {
			reviews++
		}
	}
	if reviews != 2 {
		t.Errorf("%s sent %d reviews, want 2", user, reviews)
	}
}

// pageCannotDecide wants 500 and 401, and lines in the log that say who lacks what.
func pageCannotDecide(t *testing.T, c *harness.Cluster, credentials harness.Credentials, user string) {
	s := startPageServer(t, c, append(pageGuarded(c), "--kubeconfig="+c.Kubeconfig(t, "own", credentials))...)
	expect(t, s.get(t, pageCaller{certificate: c.ClientCertificate(t, "page-undecided")}, "/stats/summary"), http.StatusInternalServerError,
		"Authorization error (user=page-undecided, verb=get, resource=nodes, subresource=stats)")
	s.unauthorized(t, pageCaller{token: c.RequestToken(t, c.CreateServiceAccount(t, "page-undecided"), 0)})
	log := s.LogTail(50)
	for _, resource := range []string{"subjectaccessreviews", "tokenreviews"} {
		if !pageLogLine(log, "level=ERROR", "403 (Forbidden)", user, "cannot create resource", resource) {
			t.Errorf("no line of the log says that %s must not create %s:\n%s", user, resource, log)
		}
	}
}

// pageUnknown shows a server whose own credential the API server does not know.
func pageUnknown(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, append(pageGuarded(c), "--kubeconfig="+c.Kubeconfig(t, "own", harness.Credentials{Token: "rubbish"}))...)
	answer := s.get(t, pageCaller{certificate: c.ClientCertificate(t, "page-undecided")}, "/stats/summary")
	if answer.Status != http.StatusInternalServerError {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	if log := s.LogTail(50); !pageLogLine(log, "level=ERROR", "401 (Unauthorized)") {
		t.Errorf("no line of the log says that the server is not known:\n%s", log)
	}
}

// pageLogLine tells whether one line of a log has all the parts.
func pageLogLine(log string, parts ...string) bool {
	for line := range strings.Lines(log) {
		found := true
		for _, part := range parts {
			found = found && strings.Contains(line, part)
		}
		if found {
			return true
		}
	}
	return false
}
