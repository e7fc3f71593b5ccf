package harness

import (
	"net/http"
	"net/url"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// AdminUser is the name of the cluster's administrator.
const AdminUser = "e2e-admin"

// connectAdmin makes the administrator's kubeconfig and clients.
func (c *Cluster) connectAdmin() error {
	pair, err := c.CA.Issue(ClientTemplate(AdminUser, "system:masters"))
	if err != nil {
		return err
	}
	c.AdminKubeconfig, err = c.writeKubeconfig(c.Dir, "admin", Credentials{Certificate: pair})
	if err != nil {
		return err
	}
	c.Admin, err = kubernetes.NewForConfig(c.RESTConfig(Credentials{Certificate: pair}))
	return err
}

// RESTConfig is a client-go configuration for the credentials: without a rate limit and without a proxy.
func (c *Cluster) RESTConfig(credentials Credentials) *rest.Config {
	config := &rest.Config{
		Host:            c.URL,
		BearerToken:     credentials.Token,
		BearerTokenFile: credentials.TokenFile,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.CA.CertPEM},
		Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil },
		QPS:             -1,
	}
	if credentials.Certificate != nil {
		config.CertData, config.KeyData = credentials.Certificate.CertPEM, credentials.Certificate.KeyPEM
	}
	return config
}
