package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"kubeletauth/testdata/e2e/internal/harness"
)

// TestPage shows the requirements of the page that this project implements, each by the number of its line, in front of
// a real API server. A line that takes more than a few requests has a file of its own.
func TestPage(t *testing.T) {
	c := theCluster(t)
	t.Run("line 13: the API server as the caller", func(t *testing.T) { pageAPIServerAsCaller(t, c) }) // not in parallel
	for _, line := range []struct {
		name string
		show func(*testing.T, *harness.Cluster)
	}{
		{"line 2: what nothing rejects is anonymous", pageAnonymousOn},
		{"line 3: anonymous requests can be off", pageAnonymousOff},
		{"line 4: client certificates", pageClientCertificates},
		{"line 5: tokens by TokenReview", pageTokens},
		{"line 6: reviews are v1", pageReviewVersion},
		{"line 7: AlwaysAllow allows all", pageAlwaysAllow},
		{"line 8: subdividing access", pageSubdividing},
		{"line 9: each request by SubjectAccessReview", pageAccessReview},
		{"lines 10 and 11: verbs and paths", pageTables},
		{"line 12: no namespace, no group, the node's name", pageAccessReviewFields},
		{"the API server goes away", pageOutage},
		{"who the server is", pageIdentities},
	} {
		t.Run(line.name, func(t *testing.T) {
			t.Parallel()
			line.show(t, c)
		})
	}
}

// pageAnonymousOn shows that a request without credentials is anonymous, and one with a credential that was rejected is not.
func pageAnonymousOn(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, "--client-ca-file="+c.CAFile, "--authentication-token-webhook", "--authorization-mode=Webhook")
	mark := c.AuditMark(t)
	s.forbidden(t, pageCaller{}, "system:anonymous", "get", "metrics")
	asked := s.accessReviews(t, mark)
	if len(asked) != 1 || asked[0].User != "system:anonymous" || !slices.Equal(asked[0].Groups, []string{"system:unauthenticated"}) {
		t.Errorf("the API server was asked about %+v", asked)
	}
	t.Run("a rejected token is not anonymous", func(t *testing.T) {
		s.unauthorized(t, pageCaller{token: "rubbish"})
	})
	t.Run("a rejected certificate is not anonymous", func(t *testing.T) {
		s.unauthorized(t, pageCaller{certificate: pageStranger(t)})
	})
	t.Run("a credential that no method looks at is anonymous", func(t *testing.T) {
		s := startPageServer(t, c, "--authorization-mode=Webhook")
		s.forbidden(t, pageCaller{token: "rubbish"}, "system:anonymous", "get", "metrics")
		s.forbidden(t, pageCaller{certificate: c.ClientCertificate(t, "nobody-looks")}, "system:anonymous", "get", "metrics")
	})
	t.Run("and it is what a server without flags does", func(t *testing.T) {
		s := startPageServer(t, c)
		expect(t, s.get(t, pageCaller{}, "/healthz"), http.StatusOK, "ok")
	})
}

// pageAnonymousOff shows that a request without credentials is refused in every mode and on every path.
func pageAnonymousOff(t *testing.T, c *harness.Cluster) {
	for name, flags := range map[string][]string{
		"Webhook":                pageGuarded(c),
		"AlwaysAllow":            {"--anonymous-auth=false"},
		"no authentication left": {"--anonymous-auth=false", "--authorization-mode=Webhook"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startPageServer(t, c, flags...)
			for _, path := range []string{"/healthz", "/metrics", "/stats/summary", "/nowhere", "/"} {
				expect(t, s.get(t, pageCaller{}, path), http.StatusUnauthorized, "Unauthorized")
			}
		})
	}
}

// pageClientCertificates shows who a certificate is, and which ones do not count.
func pageClientCertificates(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, pageGuarded(c)...)
	t.Run("the subject is the user, its organizations are the groups", func(t *testing.T) {
		pair := c.ClientCertificate(t, "page-jane", "page-devs", "page-ops")
		mark := c.AuditMark(t)
		s.forbidden(t, pageCaller{certificate: pair}, "page-jane", "get", "metrics")
		asked := s.accessReviews(t, mark)
		if len(asked) != 1 {
			t.Fatalf("the API server was asked about %+v", asked)
		}
		got, want := slices.Sorted(slices.Values(asked[0].Groups)), []string{"page-devs", "page-ops", "system:authenticated"}
		if !slices.Equal(got, want) {
			t.Errorf("the groups are %v, want %v", got, want)
		}
	})
	serving, expired := harness.ServerTemplate("127.0.0.1"), harness.ClientTemplate("page-expired")
	expired.NotBefore, expired.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	for name, pair := range map[string]*harness.Pair{
		"of another authority":  pageStranger(t),
		"for servers":           pageIssue(t, c.CA, serving),
		"that has expired":      pageIssue(t, c.CA, expired),
		"without a common name": c.ClientCertificate(t, ""),
	} {
		t.Run("not one "+name, func(t *testing.T) { s.unauthorized(t, pageCaller{certificate: pair}) })
	}
	t.Run("a token counts beside a certificate that does not", func(t *testing.T) {
		sa := c.CreateServiceAccount(t, "page-beside")
		s.forbidden(t, pageCaller{certificate: pageStranger(t), token: c.RequestToken(t, sa, 0)}, sa.Username(), "get", "metrics")
	})
}

// pageReviewVersion looks at v1 alone: no API server of today has v1beta1.
func pageReviewVersion(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, pageGuarded(c)...)
	sa := c.CreateServiceAccount(t, "page-version")
	mark := c.AuditMark(t)
	s.forbidden(t, pageCaller{token: c.RequestToken(t, sa, 0)}, sa.Username(), "get", "metrics")
	var asked []string
	for _, review := range s.reviews(t, mark) {
		asked = append(asked, review.Verb+" "+review.RequestURI)
	}
	want := []string{"create /apis/authentication.k8s.io/v1/tokenreviews", "create /apis/authorization.k8s.io/v1/subjectaccessreviews"}
	if !slices.Equal(asked, want) {
		t.Errorf("the server asked for %v, want %v", asked, want)
	}
}

// pageAlwaysAllow shows that whoever is known may do everything, without a question to the API server.
func pageAlwaysAllow(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, "--client-ca-file="+c.CAFile, "--authentication-token-webhook")
	sa := c.CreateServiceAccount(t, "page-allowed")
	mark := c.AuditMark(t)
	for name, caller := range map[string]pageCaller{
		"anonymous":   {},
		"token":       {token: c.RequestToken(t, sa, 0)},
		"certificate": {certificate: c.ClientCertificate(t, "page-allowed")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range pageMethods {
				for _, row := range pagePaths {
					if answer := s.ask(t, caller, method, row.path); pageRefused(answer) {
						t.Errorf("%s %s: %d %s", method, row.path, answer.Status, answer.Body)
					}
				}
			}
		})
	}
	s.unauthorized(t, pageCaller{token: "rubbish"})
	if asked := s.accessReviews(t, mark); len(asked) != 0 {
		t.Errorf("the API server was asked about %+v", asked)
	}
}

// pageSubdividing shows the page's three reasons to subdivide access.
func pageSubdividing(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, append(pageGuarded(c), "--anonymous-auth=true")...)
	t.Run("anonymous is on and sees little", func(t *testing.T) {
		rule := harness.Nodes("get", "metrics")
		rule.ResourceNames = []string{s.node}
		c.Grant(t, harness.User("system:anonymous"), rule)
		s.passes(t, pageCaller{}, "/metrics")
		s.forbidden(t, pageCaller{}, "system:anonymous", "get", "stats")
		s.forbidden(t, pageCaller{}, "system:anonymous", "get", "proxy")
		other := startPageServer(t, c, "--authorization-mode=Webhook")
		other.forbidden(t, pageCaller{}, "system:anonymous", "get", "metrics")
	})
	t.Run("tokens are on and one account gets in", func(t *testing.T) {
		in, out := c.CreateServiceAccount(t, "page-in"), c.CreateServiceAccount(t, "page-out")
		c.Grant(t, in.Subject(), harness.Nodes("get", "stats"))
		s.passes(t, pageCaller{token: c.RequestToken(t, in, 0)}, "/stats/summary")
		s.forbidden(t, pageCaller{token: c.RequestToken(t, out, 0)}, out.Username(), "get", "stats")
	})
	t.Run("certificates are on and one group gets in", func(t *testing.T) {
		c.Grant(t, harness.Group("page-insiders"), harness.Nodes("get", "log"))
		s.passes(t, pageCaller{certificate: c.ClientCertificate(t, "page-insider", "page-insiders")}, "/logs/")
		s.forbidden(t, pageCaller{certificate: c.ClientCertificate(t, "page-outsider", "page-others")}, "page-outsider", "get", "log")
	})
}
