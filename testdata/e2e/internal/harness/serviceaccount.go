package harness

import (
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Namespace is where service accounts are made.
const Namespace = "default"

// ServiceAccount is a service account that exists in the cluster.
type ServiceAccount struct {
	Name, UID string
}

// Username is the account's name as a user.
func (sa ServiceAccount) Username() string {
	return "system:serviceaccount:" + Namespace + ":" + sa.Name
}

// Subject is the account as a subject of a role binding.
func (sa ServiceAccount) Subject() rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: Namespace, Name: sa.Name}
}

// CreateServiceAccount makes a service account, with a name that begins with prefix.
func (c *Cluster) CreateServiceAccount(t testing.TB, prefix string) ServiceAccount {
	t.Helper()
	account, err := c.Admin.CoreV1().ServiceAccounts(Namespace).Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating service account %s: %v", prefix, err)
	}
	return ServiceAccount{Name: account.Name, UID: string(account.UID)}
}

// DeleteServiceAccount deletes the account; its tokens are worth nothing from then on.
func (c *Cluster) DeleteServiceAccount(t testing.TB, sa ServiceAccount) {
	t.Helper()
	if err := c.Admin.CoreV1().ServiceAccounts(Namespace).Delete(t.Context(), sa.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("deleting service account %s: %v", sa.Name, err)
	}
}

// RequestToken asks the API server for a token of the account. A lifetime of zero is an hour, and the API server
// refuses one below ten minutes: see [Cluster.SignToken]. No audiences mean the API server's own.
func (c *Cluster) RequestToken(t testing.TB, sa ServiceAccount, lifetime time.Duration, audiences ...string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	if lifetime != 0 {
		seconds := int64(lifetime / time.Second)
		request.Spec.ExpirationSeconds = &seconds
	}
	answer, err := c.Admin.CoreV1().ServiceAccounts(Namespace).CreateToken(t.Context(), sa.Name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("requesting a token of %s: %v", sa.Name, err)
	}
	return answer.Status.Token
}
