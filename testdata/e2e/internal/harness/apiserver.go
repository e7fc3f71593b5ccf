package harness

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

const (
	// Issuer is the issuer of service-account tokens, and their audience when none is asked for.
	Issuer = "https://kubernetes.default.svc"

	// KubeletClientUser is who the API server is when it calls a kubelet, as in a cluster made by kubeadm.
	// It may do what the cluster role system:kubelet-api-admin grants.
	KubeletClientUser = "kube-apiserver-kubelet-client"

	// auditPolicy logs every review with what was asked and answered, and nothing else.
	auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
  {"level": "RequestResponse", "resources": [
    {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
    {"group": "authorization.k8s.io", "resources": ["subjectaccessreviews"]}]},
  {"level": "None"}]}`
)

// startAPIServer starts the kube-apiserver of the cluster and waits until it is ready.
func (c *Cluster) startAPIServer(ctx context.Context, etcdURL string) error {
	port, err := FreePort("127.0.0.1")
	if err != nil {
		return err
	}
	c.URL = "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	args, err := c.apiServerFlags(port, etcdURL)
	if err != nil {
		return err
	}
	c.apiServer, err = StartProcess(exec.Command(c.Programs.APIServer, args...), filepath.Join(c.Dir, "kube-apiserver.log"))
	if err != nil {
		return err
	}
	return c.apiServer.Await(ctx, answers200(newHTTPClient(c.CA, nil), c.URL+"/readyz"))
}

// apiServerFlags writes the files that the API server reads and returns its command line.
func (c *Cluster) apiServerFlags(port int, etcdURL string) ([]string, error) {
	keyDER, err := x509.MarshalECPrivateKey(c.tokenKey)
	if err != nil {
		return nil, err
	}
	tokenKey := filepath.Join(c.Dir, "service-account.key")
	policy := filepath.Join(c.Dir, "audit-policy.json")
	for file, content := range map[string][]byte{
		c.CAFile: c.CA.CertPEM,
		tokenKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		policy:   []byte(auditPolicy),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return nil, err
		}
	}
	servingCert, servingKey, err := c.writePair("kube-apiserver", ServerTemplate("127.0.0.1", "localhost"))
	if err != nil {
		return nil, err
	}
	kubeletCert, kubeletKey, err := c.writePair("kubelet-client", ClientTemplate(KubeletClientUser))
	if err != nil {
		return nil, err
	}
	return []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--cert-dir=" + c.Dir,
		"--tls-cert-file=" + servingCert, "--tls-private-key-file=" + servingKey,
		"--client-ca-file=" + c.CAFile,
		"--service-account-issuer=" + Issuer,
		"--service-account-key-file=" + tokenKey, "--service-account-signing-key-file=" + tokenKey,
		"--authorization-mode=Node,RBAC",
		"--disable-admission-plugins=ServiceAccount",
		"--kubelet-client-certificate=" + kubeletCert, "--kubelet-client-key=" + kubeletKey,
		"--kubelet-certificate-authority=" + c.CAFile,
		"--kubelet-preferred-address-types=InternalIP",
		"--audit-policy-file=" + policy, "--audit-log-path=" + c.auditLog, "--audit-log-maxsize=10000",
	}, nil
}

// writePair issues a certificate of the cluster's authority into the cluster's folder.
func (c *Cluster) writePair(name string, template x509.Certificate) (certFile, keyFile string, err error) {
	pair, err := c.CA.Issue(template)
	if err != nil {
		return "", "", err
	}
	return pair.Write(c.Dir, name)
}
