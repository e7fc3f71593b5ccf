package harness

import (
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Credentials are what a client of the API server shows: any of them.
type Credentials struct {
	Certificate *Pair
	Token       string
	TokenFile   string
}

// Kubeconfig writes a kubeconfig file for the credentials into the test's folder and returns its path.
// A certificate and its key are files beside it, so that they can be replaced; a token is in the file itself.
func (c *Cluster) Kubeconfig(t testing.TB, name string, credentials Credentials) string {
	t.Helper()
	file, err := c.writeKubeconfig(t.TempDir(), name, credentials)
	if err != nil {
		t.Fatalf("writing kubeconfig %s: %v", name, err)
	}
	return file
}

// NodeKubeconfig writes the kubeconfig of a kubelet: a client certificate of system:node:<node> in system:nodes.
func (c *Cluster) NodeKubeconfig(t testing.TB, node string) string {
	t.Helper()
	pair := c.ClientCertificate(t, "system:node:"+node, "system:nodes")
	return c.Kubeconfig(t, "node", Credentials{Certificate: pair})
}

// ClientCertificate issues a client certificate for a user and groups.
func (c *Cluster) ClientCertificate(t testing.TB, user string, groups ...string) *Pair {
	t.Helper()
	pair, err := c.CA.Issue(ClientTemplate(user, groups...))
	if err != nil {
		t.Fatalf("issuing a certificate for %s: %v", user, err)
	}
	return pair
}

// writeKubeconfig writes name.kubeconfig into dir.
func (c *Cluster) writeKubeconfig(dir, name string, credentials Credentials) (string, error) {
	user := &api.AuthInfo{Token: credentials.Token, TokenFile: credentials.TokenFile}
	if credentials.Certificate != nil {
		var err error
		user.ClientCertificate, user.ClientKey, err = credentials.Certificate.Write(dir, name)
		if err != nil {
			return "", err
		}
	}
	config := api.NewConfig()
	config.Clusters["e2e"] = &api.Cluster{Server: c.URL, CertificateAuthority: c.CAFile}
	config.AuthInfos[name] = user
	config.Contexts["e2e"] = &api.Context{Cluster: "e2e", AuthInfo: name}
	config.CurrentContext = "e2e"
	file := filepath.Join(dir, name+".kubeconfig")
	return file, clientcmd.WriteToFile(*config, file)
}
