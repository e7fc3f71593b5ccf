package oracle

import (
	"fmt"
	"regexp"

	"sigs.k8s.io/yaml"

	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/testdata/e2e/internal/generate"
)

// generated is a kubeconfig with one context that matters.
type generated struct {
	object        map[string]any
	cluster, user map[string]any
}

// String shows what matters, without what is long.
func (k generated) String() string {
	return bytesInText.ReplaceAllString(fmt.Sprint(k.object), "[...]")
}

var bytesInText = regexp.MustCompile(`\[[0-9 ]{50,}\]`)

// file is the text of the file, in JSON or in YAML.
func (k generated) file(s *generate.Source) []byte {
	text := mustJSON(k.object)
	if s.Chance(3) {
		return text
	}
	text, err := yaml.JSONToYAML(text)
	if err != nil {
		panic(err)
	}
	return text
}

// anyKubeconfig makes one, most often one that can be used.
func (w *witness) anyKubeconfig(s *generate.Source) generated {
	k := generated{cluster: w.anyCluster(s), user: w.anyUser(s)}
	rarely := func(odd, ordinary string) string {
		if s.Chance(30) {
			return odd
		}
		return ordinary
	}
	clusters := []any{map[string]any{"name": "c", "cluster": k.cluster}, map[string]any{"name": "c2", "cluster": map[string]any{"server": "https://192.0.2.1"}}}
	users := []any{map[string]any{"name": "u", "user": k.user}, map[string]any{"name": rarely("u", "u2"), "user": map[string]any{"token": "another"}}}
	k.object = map[string]any{
		"clusters":        clusters,
		"users":           users,
		"contexts":        []any{map[string]any{"name": rarely("y", "x"), "context": map[string]any{"cluster": rarely("none", "c"), "user": rarely("", rarely("none", "u"))}}},
		"current-context": rarely("", "x"),
	}
	optional := map[string]any{"kind": rarely("Pod", "Config"), "apiVersion": rarely("v2", "v1"), "preferences": map[string]any{}, "unknown": []any{1}}
	for _, name := range []string{"kind", "apiVersion", "preferences", "unknown"} {
		if s.Chance(2) {
			k.object[name] = optional[name]
		}
	}
	return k
}

// anyCluster is a cluster.
func (w *witness) anyCluster(s *generate.Source) map[string]any {
	server := generate.Pick(s, "https://127.0.0.1", "https://127.0.0.1", "https://localhost") + w.url
	if s.Chance(20) {
		server = generate.Pick(s, "127.0.0.1"+w.url, "http://127.0.0.1"+w.url, "", "https://")
	}
	cluster := map[string]any{"server": server + generate.Pick(s, "", "", "", "/", "/prefix", "/prefix/", "/a%2fb", "/a/b?c=d", "?c=d", "#f", "/a b", "//")}
	switch s.IntN(12) {
	case 0:
		cluster["insecure-skip-tls-verify"] = true
	case 1:
		cluster["certificate-authority"] = generate.Pick(s, "other.crt", "empty", "text", "missing", "")
	case 2:
		cluster["certificate-authority-data"] = generate.Pick[any](s, []byte("text"), "not base64", "", w.ca.PEM())
	case 3, 4:
		cluster["certificate-authority-data"] = w.ca.PEM()
	default:
		cluster["certificate-authority"] = generate.Pick(s, "ca.crt", "ca.crt", w.dir+"/ca.crt", "./ca.crt")
	}
	maybe(s, 20, cluster, "insecure-skip-tls-verify", true)
	maybe(s, 20, cluster, "certificate-authority-data", w.ca.PEM())
	maybe(s, 8, cluster, "tls-server-name", generate.Pick(s, "localhost", "localhost", "elsewhere", ""))
	maybe(s, 10, cluster, "disable-compression", true)
	maybe(s, 20, cluster, "proxy-url", generate.Pick(s, "", "ftp://x", "::", "http://127.0.0.1:1"))
	maybe(s, 10, cluster, "unknown", "field")
	return cluster
}

// anyUser is a user with credentials.
func (w *witness) anyUser(s *generate.Source) map[string]any {
	user := map[string]any{}
	maybe(s, 2, user, "token", generate.Pick(s, "token", "token", "", " token ", "tök", "two\nlines"))
	maybe(s, 5, user, "tokenFile", generate.Pick(s, "token", "token", w.dir+"/token", "empty", "missing"))
	if s.Chance(3) {
		key := generate.Pick(s, "-data", "")
		user["client-certificate"], user["client-key"+key] = "client.crt", "client.key"
		if key != "" {
			user["client-key"+key] = apiservertest.KeyPEM(w.pair)
		}
	}
	maybe(s, 12, user, "client-certificate-data", generate.Pick[any](s, apiservertest.CertPEM(w.pair), []byte("text"), "*"))
	maybe(s, 12, user, "client-key-data", apiservertest.KeyPEM(w.pair))
	maybe(s, 20, user, "client-key", generate.Pick(s, "client.key", "missing", "ca.crt"))
	maybe(s, 10, user, "username", generate.Pick(s, "jane", ""))
	maybe(s, 10, user, "password", generate.Pick(s, "secret", ""))
	maybe(s, 30, user, "as", "somebody")
	maybe(s, 10, user, "unknown", map[string]any{"a": 1})
	return user
}

// maybe sets a field once in n times.
func maybe(s *generate.Source, n int, object map[string]any, name string, value any) {
	if s.Chance(n) {
		object[name] = value
	}
}
