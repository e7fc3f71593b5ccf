package apiservertest

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Kubeconfig returns a kubeconfig in YAML for this server with a token; an
// empty token stands for [Server.ClientToken]. The token need not be one that
// the server accepts.
func (s *Server) Kubeconfig(token string) []byte {
	quoted, _ := json.Marshal(cmp.Or(token, s.ClientToken())) // a JSON string is a YAML string; strings never fail
	return s.kubeconfig("    token: " + string(quoted) + "\n")
}

// KubeconfigWithCertificate returns a kubeconfig in YAML for this server with
// a client certificate and its key, such as [CA.Issue] makes; see
// [Server.SetClientCA].
func (s *Server) KubeconfigWithCertificate(c tls.Certificate) []byte {
	encode := base64.StdEncoding.EncodeToString
	return s.kubeconfig("    client-certificate-data: " + encode(CertPEM(c)) + "\n" +
		"    client-key-data: " + encode(KeyPEM(c)) + "\n")
}

func (s *Server) kubeconfig(user string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: apiservertest
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: client
  user:
%scontexts:
- name: apiservertest
  context:
    cluster: apiservertest
    user: client
current-context: apiservertest
`, s.URL, base64.StdEncoding.EncodeToString(s.CA.PEM()), user)
}
