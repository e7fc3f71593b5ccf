package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Cluster is a running etcd and kube-apiserver with an authority of their own, which signs everything in it:
// serving certificates and client certificates of kubelets, users and the API server itself.
type Cluster struct {
	Programs *Programs
	Dir      string // where logs, certificates and data are
	URL      string // of the API server
	CA       *CA
	CAFile   string

	Admin           *kubernetes.Clientset // may do everything
	AdminKubeconfig string                // file

	tokenKey        *ecdsa.PrivateKey // signs service-account tokens
	auditLog        string
	etcd, apiServer *Process
}

// StartCluster starts a cluster in the folder dir and waits until it is ready. The caller closes it.
func StartCluster(ctx context.Context, programs *Programs, dir string) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := &Cluster{
		Programs: programs,
		Dir:      dir,
		CAFile:   filepath.Join(dir, "ca.crt"),
		auditLog: filepath.Join(dir, "audit.log"),
	}
	if err := c.start(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("starting the cluster: %w", err)
	}
	return c, nil
}

// start does the work of StartCluster; what it started by an error is running.
func (c *Cluster) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	if c.CA, err = NewCA("e2e"); err != nil {
		return err
	}
	if c.tokenKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	var etcdURL string
	if c.etcd, etcdURL, err = startEtcd(ctx, c.Programs.Etcd, c.Dir); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, etcdURL); err != nil {
		return err
	}
	if err := c.connectAdmin(); err != nil {
		return err
	}
	return c.furnish(ctx)
}

// furnish lets the API server call kubelets, and waits for the namespace that the tests use.
func (c *Cluster) furnish(ctx context.Context) error {
	_, err := c.Admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "apiserver-kubelet-client"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:kubelet-api-admin"},
		Subjects:   []rbacv1.Subject{User(KubeletClientUser)},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return c.apiServer.Await(ctx, func(ctx context.Context) error {
		_, err := c.Admin.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
		return err
	})
}

// Close ends the programs, hard: a graceful end of the API server takes a minute.
func (c *Cluster) Close() {
	for _, p := range []*Process{c.apiServer, c.etcd} {
		if p != nil {
			p.Kill()
		}
	}
}

// LogTail returns the ends of the logs of all programs.
func (c *Cluster) LogTail(lines int) string {
	text := ""
	for _, p := range []*Process{c.etcd, c.apiServer} {
		if p != nil {
			text += fmt.Sprintf("the end of %s:\n%s\n", filepath.Base(p.LogFile), p.LogTail(lines))
		}
	}
	return text
}
