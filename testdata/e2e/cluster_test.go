package e2e

import (
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubeletauth/testdata/e2e/internal/harness"
)

// review sends a TokenReview as the administrator and returns the answer.
func review(t *testing.T, c *harness.Cluster, token string, audiences ...string) authenticationv1.TokenReviewStatus {
	t.Helper()
	answer, err := c.Admin.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status
}

func TestClusterIsTheVersionThatGoModPins(t *testing.T) {
	version, err := theCluster(t).Admin.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if version.Major != "1" || version.Minor != "37" || !strings.HasPrefix(version.GitVersion, "v1.37.") {
		t.Errorf("the API server says it is %+v", version)
	}
}

func TestTokensOfAServiceAccount(t *testing.T) {
	c := theCluster(t)
	sa := c.CreateServiceAccount(t, "tokens")
	now := time.Now()
	for _, test := range []struct {
		name, token   string
		authenticated bool
	}{
		{"requested", c.RequestToken(t, sa, 0), true},
		{"requested for 20 minutes", c.RequestToken(t, sa, 20*time.Minute), true},
		{"requested for another audience", c.RequestToken(t, sa, 0, "elsewhere"), false},
		{"signed", c.SignToken(t, sa, now, now.Add(time.Minute)), true},
		{"signed for another audience", c.SignToken(t, sa, now, now.Add(time.Minute), "elsewhere"), false},
		{"expired", c.SignToken(t, sa, now.Add(-time.Hour), now.Add(-time.Minute)), false},
		{"not valid yet", c.SignToken(t, sa, now.Add(time.Hour), now.Add(2*time.Hour)), false},
		{"not a token", "rubbish", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := review(t, c, test.token)
			if status.Authenticated != test.authenticated {
				t.Fatalf("authenticated is %t, error %q", status.Authenticated, status.Error)
			}
			if status.Authenticated && status.User.Username != sa.Username() {
				t.Errorf("the user is %q, want %q", status.User.Username, sa.Username())
			}
		})
	}
}

func TestTokenOfADeletedServiceAccount(t *testing.T) {
	c := theCluster(t)
	sa := c.CreateServiceAccount(t, "deleted")
	token := c.RequestToken(t, sa, 0)
	if status := review(t, c, token); !status.Authenticated {
		t.Fatalf("before: %s", status.Error)
	}
	c.DeleteServiceAccount(t, sa)
	deadline := time.Now().Add(30 * time.Second) // the API server remembers tokens for ten seconds
	for review(t, c, token).Authenticated {
		if time.Now().After(deadline) {
			t.Fatal("the token is still good")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func TestAuditLogShowsReviews(t *testing.T) {
	c := theCluster(t)
	sa := c.CreateServiceAccount(t, "audited")
	token := c.RequestToken(t, sa, 0)
	mark := c.AuditMark(t)
	review(t, c, token)
	c.AwaitAccess(t, sa.Subject(), harness.Nodes("get", "stats"), false)

	reviews := c.ReviewsSince(t, mark)
	if len(reviews) != 2 {
		t.Fatalf("%d reviews, want 2", len(reviews))
	}
	asked, decided := reviews[0].Token, reviews[1].Access
	if asked == nil || asked.Spec.Token != token || asked.Status.User.Username != sa.Username() {
		t.Errorf("the first is %+v", reviews[0])
	}
	if decided == nil || decided.Spec.User != sa.Username() || decided.Spec.ResourceAttributes.Subresource != "stats" || decided.Status.Allowed {
		t.Errorf("the second is %+v", reviews[1])
	}
	if reviews[0].User.Username != harness.AdminUser {
		t.Errorf("the first was sent by %q", reviews[0].User.Username)
	}
	if again := c.ReviewsSince(t, c.AuditMark(t)); len(again) != 0 {
		t.Errorf("%d reviews after the last mark, want none", len(again))
	}
}

func TestGrantAndRevoke(t *testing.T) {
	c := theCluster(t)
	sa := c.CreateServiceAccount(t, "granted")
	revoke := c.Grant(t, sa.Subject(), harness.Nodes("get", "metrics", "stats"))
	c.AwaitAccess(t, sa.Subject(), harness.Nodes("get", "metrics", "stats"), true)
	c.AwaitAccess(t, sa.Subject(), harness.Nodes("create", "stats"), false)
	revoke()
	c.AwaitAccess(t, sa.Subject(), harness.Nodes("get", "metrics", "stats"), false)
}

func TestCredentialsOfAKubeconfig(t *testing.T) {
	c := theCluster(t)
	sa := c.CreateServiceAccount(t, "kubeconfig")
	for _, test := range []struct {
		name, kubeconfig, user string
	}{
		{"node", c.NodeKubeconfig(t, "whoami"), "system:node:whoami"},
		{"token", c.Kubeconfig(t, "sa", harness.Credentials{Token: c.RequestToken(t, sa, 0)}), sa.Username()},
		{"certificate", c.Kubeconfig(t, "jane", harness.Credentials{Certificate: c.ClientCertificate(t, "jane", "dev")}), "jane"},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := c.Kubectl(t, test.kubeconfig, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
			if err != nil || stdout != test.user {
				t.Errorf("kubectl says %q, want %q (%v)\n%s", stdout, test.user, err, stderr)
			}
		})
	}
}
