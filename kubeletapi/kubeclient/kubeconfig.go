package kubeclient

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"kubeletauth/kubeletapi/internal/exactjson"
	"kubeletauth/kubeletapi/internal/yaml"
)

// kubeconfig is what a client needs of k8s.io/client-go
// tools/clientcmd/api/v1/types.go. Unknown fields are ignored, as they are there.
type kubeconfig struct {
	Kind           string  `json:"kind"`
	APIVersion     string  `json:"apiVersion"`
	CurrentContext string  `json:"current-context"`
	Clusters       []entry `json:"clusters"`
	Users          []entry `json:"users"`
	Contexts       []entry `json:"contexts"`
}

// entry is an element of each of the three lists.
type entry struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
	User    user    `json:"user"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// cluster is also what a credential plugin is told: then CertificateAuthority
// and Extensions are empty, and only then Config is not.
type cluster struct {
	Server                   string          `json:"server"`
	TLSServerName            string          `json:"tls-server-name,omitempty"`
	InsecureSkipTLSVerify    bool            `json:"insecure-skip-tls-verify,omitempty"`
	CertificateAuthority     string          `json:"certificate-authority,omitempty"`
	CertificateAuthorityData string          `json:"certificate-authority-data,omitempty"`
	ProxyURL                 string          `json:"proxy-url,omitempty"`
	DisableCompression       bool            `json:"disable-compression,omitempty"`
	Config                   json.RawMessage `json:"config,omitempty"`
	Extensions               []struct {
		Name      string          `json:"name"`
		Extension json.RawMessage `json:"extension"`
	} `json:"extensions,omitempty"`
}

type user struct {
	ClientCertificate     string              `json:"client-certificate"`
	ClientCertificateData string              `json:"client-certificate-data"`
	ClientKey             string              `json:"client-key"`
	ClientKeyData         string              `json:"client-key-data"`
	Token                 string              `json:"token"`
	TokenFile             string              `json:"tokenFile"`
	Username              string              `json:"username"`
	Password              string              `json:"password"`
	As                    string              `json:"as"`
	AsUID                 string              `json:"as-uid"`
	AsGroups              []string            `json:"as-groups"`
	AsUserExtra           map[string][]string `json:"as-user-extra"`
	Exec                  *execPlugin         `json:"exec"`
	AuthProvider          *struct{}           `json:"auth-provider"`
}

// parseKubeconfig reads YAML or JSON. An error never holds a value of the file,
// which may be a secret.
func parseKubeconfig(content []byte) (*kubeconfig, error) {
	data, err := yaml.ToJSON(content)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if err := exactjson.Unmarshal(data, &k); err != nil {
		var wrong *json.UnmarshalTypeError
		if !errors.As(err, &wrong) {
			return nil, errors.New("it cannot be read as a kubeconfig")
		}
		found, _, _ := strings.Cut(wrong.Value, " ")
		words := strings.NewReplacer("struct", "mapping", "ptr", "mapping", "slice", "list", "object", "mapping", "array", "list")
		return nil, fmt.Errorf("%s: a %s is needed here, and there is a %s: check quotation marks and indentation",
			cmp.Or(wrong.Field, "the file"), words.Replace(wrong.Type.Kind().String()), words.Replace(found))
	}
	if k.Kind != "" && k.Kind != "Config" || k.APIVersion != "" && k.APIVersion != "v1" {
		return nil, fmt.Errorf("it is of kind %q in apiVersion %q, and must be of kind Config in apiVersion v1", oneLine(k.Kind), oneLine(k.APIVersion))
	}
	return &k, nil
}

// current returns the entries that the current context names (ConfirmUsable in
// tools/clientcmd/client_config.go). A context without a user makes anonymous
// requests.
func (k *kubeconfig) current() (clusterEntry, userEntry entry, err error) {
	contexts, err1 := byName("contexts", k.Contexts)
	clusters, err2 := byName("clusters", k.Clusters)
	users, err3 := byName("users", k.Users)
	context, known := contexts[k.CurrentContext]
	clusterEntry, knownCluster := clusters[context.Context.Cluster]
	userEntry, knownUser := users[context.Context.User]
	switch err = cmp.Or(err1, err2, err3); {
	case err != nil:
	case k.CurrentContext == "":
		err = errors.New("no configuration has been provided: current-context is empty; write the name of a context there, or choose the in-cluster configuration")
	case !known:
		err = fmt.Errorf("context was not found for specified context: current-context is %q, and contexts has no such name", oneLine(k.CurrentContext))
	case !knownCluster:
		err = fmt.Errorf("cluster %q of context %q does not exist: clusters has no such name", oneLine(context.Context.Cluster), oneLine(context.Name))
	case !knownUser && context.Context.User != "":
		err = fmt.Errorf("user %q of context %q does not exist: users has no such name", oneLine(context.Context.User), oneLine(context.Name))
	}
	return clusterEntry, userEntry, err
}

func byName(list string, entries []entry) (map[string]entry, error) {
	named := map[string]entry{}
	for _, e := range entries {
		if _, twice := named[e.Name]; twice {
			return nil, fmt.Errorf("%s: duplicate name %q: rename or remove one of them", list, oneLine(e.Name))
		}
		named[e.Name] = e
	}
	return named, nil
}

// problems are all that is wrong, so that they can be mended at once.
type problems []string

func (p *problems) when(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return errors.New(strings.Join(p, "; "))
}

// check follows validateClusterInfo in tools/clientcmd/validation.go.
func (c *cluster) check(name string) error {
	var p problems
	p.when(c.Server == "", "no server found for cluster %q: write https://host:port there", name)
	p.when(c.CertificateAuthority != "" && c.CertificateAuthorityData != "",
		"certificate-authority-data and certificate-authority are both specified for %q: remove one", name)
	p.when(c.InsecureSkipTLSVerify && (c.CertificateAuthority != "" || c.CertificateAuthorityData != ""),
		"cluster %q: specifying a root certificates file with the insecure flag is not allowed: remove insecure-skip-tls-verify", name)
	return p.err()
}

// check follows validateAuthInfo in tools/clientcmd/validation.go.
func (u *user) check(name string) error {
	certificate := u.ClientCertificate != "" || u.ClientCertificateData != ""
	key := u.ClientKey != "" || u.ClientKeyData != ""
	var p problems
	p.when((u.Token != "" || u.TokenFile != "") && (u.Username != "" || u.Password != ""),
		"more than one authentication method found for %q; found [token basicAuth], only one is allowed", name)
	p.when(u.ClientCertificate != "" && u.ClientCertificateData != "",
		"client-cert-data and client-cert are both specified for %q: remove client-certificate or client-certificate-data", name)
	p.when(u.ClientKey != "" && u.ClientKeyData != "",
		"client-key-data and client-key are both specified for %q: remove one", name)
	p.when(certificate && !key, "client-key-data or client-key must be specified for %q to use the clientCert authentication method", name)
	p.when(key && !certificate, "client-certificate-data or client-certificate must be specified for %q, which has a client key", name)
	p.when(u.As != "" || u.AsUID != "" || len(u.AsGroups) > 0 || len(u.AsUserExtra) > 0,
		"as, as-uid, as-groups and as-user-extra of %q are not supported: use a credential of the user who is meant", name)
	p.when(u.AuthProvider != nil,
		"auth-provider of %q is not supported, and Kubernetes has removed it: use exec with the credential plugin of your provider", name)
	p.when(!validHeader(u.Token), "token of %q contains a control character or more than one line", name)
	if u.Exec != nil {
		u.Exec.check(&p, name)
	}
	return p.err()
}
