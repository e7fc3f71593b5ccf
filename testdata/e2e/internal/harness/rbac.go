package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// User is a user as a subject of a role binding.
func User(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

// Group is a group as a subject of a role binding.
func Group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

// Nodes is the rule that allows verbs on sub-resources of all nodes, as in Nodes("get", "stats", "metrics").
func Nodes(verb string, subresources ...string) rbacv1.PolicyRule {
	rule := rbacv1.PolicyRule{APIGroups: []string{""}, Verbs: []string{verb}}
	for _, subresource := range subresources {
		rule.Resources = append(rule.Resources, "nodes/"+subresource)
	}
	return rule
}

// Grant makes a ClusterRole of the rules and binds it to the subject, and waits until the API server decides by it.
// The grant ends with revoke, or with the test.
func (c *Cluster) Grant(t testing.TB, subject rbacv1.Subject, rules ...rbacv1.PolicyRule) (revoke func()) {
	t.Helper()
	role, err := c.Admin.RbacV1().ClusterRoles().Create(t.Context(),
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Rules: rules}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating a cluster role: %v", err)
	}
	t.Cleanup(func() {
		c.Admin.RbacV1().ClusterRoles().Delete(context.Background(), role.Name, metav1.DeleteOptions{})
	})
	unbind := c.BindClusterRole(t, subject, role.Name)
	for _, rule := range rules {
		c.AwaitAccess(t, subject, rule, true)
	}
	return func() {
		unbind()
		for _, rule := range rules {
			c.AwaitAccess(t, subject, rule, false)
		}
	}
}

// BindClusterRole binds a ClusterRole to the subject until unbind is called or the test ends.
// It does not wait until the API server knows of it, see [Cluster.AwaitAccess].
func (c *Cluster) BindClusterRole(t testing.TB, subject rbacv1.Subject, role string) (unbind func()) {
	t.Helper()
	bindings := c.Admin.RbacV1().ClusterRoleBindings()
	binding, err := bindings.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("binding cluster role %s: %v", role, err)
	}
	unbind = func() { bindings.Delete(context.Background(), binding.Name, metav1.DeleteOptions{}) }
	t.Cleanup(unbind)
	return unbind
}

// AwaitAccess waits until the API server decides as told about everything that the rule names: the API server learns
// of a new or a deleted role a moment later, and a kubelet that asked within that moment remembers the old answer.
func (c *Cluster) AwaitAccess(t testing.TB, subject rbacv1.Subject, rule rbacv1.PolicyRule, allowed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, spec := range accesses(subject, rule) {
		err := poll(ctx, c.apiServer.Done(), func(ctx context.Context) error {
			review, err := c.Admin.AuthorizationV1().SubjectAccessReviews().Create(ctx,
				&authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
			if err == nil && review.Status.Allowed != allowed {
				err = fmt.Errorf("allowed is %t", review.Status.Allowed)
			}
			return err
		})
		if err != nil {
			t.Fatalf("waiting until %s has the access %s (%t): %v", subject.Name, rule.String(), allowed, err)
		}
	}
}

// accesses are all questions that a rule answers: one for each verb and resource, or URL.
func accesses(subject rbacv1.Subject, rule rbacv1.PolicyRule) []authorizationv1.SubjectAccessReviewSpec {
	var specs []authorizationv1.SubjectAccessReviewSpec
	for _, verb := range rule.Verbs {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range orAny(rule.ResourceNames) {
					spec := asSubject(subject)
					spec.ResourceAttributes = resourceAccess(verb, group, resource, name)
					specs = append(specs, spec)
				}
			}
		}
		for _, url := range rule.NonResourceURLs {
			spec := asSubject(subject)
			spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Verb: verb, Path: url}
			specs = append(specs, spec)
		}
	}
	return specs
}
