package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"kubeletauth/testdata/e2e/internal/harness"
)

// pageAccessReview shows that the API server decides, and is asked again when nothing is remembered.
func pageAccessReview(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, append(pageGuarded(c),
		"--authorization-webhook-cache-authorized-ttl=0", "--authorization-webhook-cache-unauthorized-ttl=0")...)
	caller := pageCaller{certificate: c.ClientCertificate(t, "page-decided")}
	mark := c.AuditMark(t)
	s.forbidden(t, caller, "page-decided", "get", "stats")
	revoke := c.Grant(t, harness.User("page-decided"), harness.Nodes("get", "stats"))
	s.passes(t, caller, "/stats/summary")
	revoke()
	s.forbidden(t, caller, "page-decided", "get", "stats")
	var allowed []bool
	for _, review := range s.reviews(t, mark) {
		allowed = append(allowed, review.Access != nil && review.Access.Status.Allowed)
	}
	if want := []bool{false, true, false}; !reflect.DeepEqual(allowed, want) {
		t.Errorf("the API server was asked, and said %v, want %v", allowed, want)
	}
}

// pageAccessReviewFields shows the whole question, for a certificate and for a token.
func pageAccessReviewFields(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, pageGuarded(c)...)
	t.Run("of a certificate", func(t *testing.T) {
		pair := c.ClientCertificate(t, "page-asked", "page-group")
		digest := sha256.Sum256(pair.Leaf.Raw)
		s.expectQuestion(t, pageCaller{certificate: pair}, authenticationv1.UserInfo{
			Username: "page-asked",
			Groups:   []string{"page-group", "system:authenticated"},
			Extra:    map[string]authenticationv1.ExtraValue{credentialID: {"X509SHA256=" + hex.EncodeToString(digest[:])}},
		})
	})
	t.Run("of a token", func(t *testing.T) {
		sa := c.CreateServiceAccount(t, "page-asked")
		token := c.RequestToken(t, sa, 0)
		user := review(t, c, token).User
		if user.Username != sa.Username() || user.UID != sa.UID || len(user.Extra[credentialID]) != 1 {
			t.Fatalf("the API server says that the token is of %+v", user)
		}
		s.expectQuestion(t, pageCaller{token: token}, user)
	})
}

// credentialID is the key under which a user's credential is named.
const credentialID = "authentication.kubernetes.io/credential-id"

// expectQuestion wants that a request of the caller leads to one SubjectAccessReview, with the user in all its fields.
func (s *pageServer) expectQuestion(t *testing.T, caller pageCaller, user authenticationv1.UserInfo) {
	t.Helper()
	mark := s.cluster.AuditMark(t)
	s.ask(t, caller, "PATCH", "/logs/syslog?tail=1")
	want := authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "patch", Version: "v1", Resource: "nodes", Subresource: "log", Name: s.node,
			// Namespace and Group are empty, and the path and the query play no part.
		},
	}
	for key, value := range user.Extra {
		want.Extra[key] = authorizationv1.ExtraValue(value)
	}
	asked := s.accessReviews(t, mark)
	if len(asked) != 1 || !reflect.DeepEqual(asked[0], want) {
		t.Errorf("the API server was asked\n%+v, want\n%+v", asked, want)
	}
}
