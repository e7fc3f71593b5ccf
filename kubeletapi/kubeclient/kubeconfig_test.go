package kubeclient

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files is a file system for a loader.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	if content, ok := f[path]; ok {
		return []byte(content), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// loadText reads a kubeconfig that lies in /etc/k beside these files.
func loadText(text string, beside files) (*settings, error) {
	s, err := (&kubeconfigFile{path: "/etc/k/conf"}).parse([]byte(text))
	if err != nil {
		return nil, err
	}
	ca, err := s.names.ca.authorities(beside.read)
	if err != nil {
		return nil, err
	}
	pair, err := s.names.pair.load(beside.read)
	if err != nil {
		return nil, err
	}
	token, err := tokenLoader(s.names.token, s.token)(beside.read)
	if err != nil {
		return nil, err
	}
	return s.with(ca, pair, token), nil
}

func TestKubeconfigErrors(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	client, other := ca.issue(t, "client"), ca.issue(t, "other")
	w := newWorldWithoutServer(t)
	for name, content := range map[string]string{
		"ca.crt": string(ca.cert), "c.crt": string(client.cert), "c.key": string(client.key),
		"other.key": string(other.key), "empty": "", "spaces": " \n", "cut": string(ca.cert) + string(ca.cert[:100]),
		"junk": "junk", "two-lines": "a\nb",
	} {
		w.write(name, content)
	}
	user := func(fields string) string { return kubeconfigText("https://h", fields) }
	cluster := func(server string, fields ...string) string { return kubeconfigText(server, "", fields...) }
	exec := func(fields string) string { return user("exec: {command: x, " + fields + "}") }
	good := user("")
	edit := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the kubeconfig", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, test := range []struct{ name, text, want string }{
		{"kubeconfig-005", cluster("https://h", "certificate-authority: ca.crt", "certificate-authority-data: "+b64(ca.cert)), `certificate-authority-data and certificate-authority are both specified`},
		{"kubeconfig-006", user("client-certificate: c.crt, client-certificate-data: YQ==, client-key: c.key"), `client-cert-data and client-cert are both specified`},
		{"key data and file", user("client-certificate: c.crt, client-key-data: YQ==, client-key: c.key"), `client-key-data and client-key are both specified`},
		{"kubeconfig-008", user("token: a, username: u"), `more than one authentication method found`},
		{"tokenFile and password", user("tokenFile: /t, password: SECRET"), `more than one authentication method found`},
		{"kubeconfig-010, an error here", cluster("http://x"), `server must start with https://`},
		{"no scheme", cluster("x:6443"), `server must start with https://`},
		{"another scheme", cluster("ftp://x"), `server must start with https://`},
		{"no URL", cluster("https://x:port/SECRET"), `server must start with https://`},
		{"no host", cluster("https://"), `server has no host`},
		{"only a port", cluster("https://:6443"), `server has no host`},
		{"password in server", cluster("https://u:SECRET@h"), `server must hold no user name and password`},
		{"no server", cluster(""), `no server found for cluster "k"`},
		{"kubeconfig-012", cluster("https://h", "insecure-skip-tls-verify: true", "certificate-authority: ca.crt"), `specifying a root certificates file with the insecure flag is not allowed`},
		{"kubeconfig-013", cluster("https://h", "proxy-url: 'ftp://u:SECRET@p'"), `unsupported scheme "ftp", must be http, https, or socks5`},
		{"proxy without scheme", cluster("https://h", "proxy-url: 'p:3128'"), `unsupported scheme "p"`},
		{"proxy without host", cluster("https://h", "proxy-url: 'http://'"), `it is not a URL`},
		{"proxy", cluster("https://h", "proxy-url: 'http://u:SECRET@p:x'"), `invalid 'proxy-url' for cluster "k"`},
		{"kubeconfig-014", edit("current-context: c", "current-context: ''"), `no configuration has been provided`},
		{"an empty file", "", `no configuration has been provided`},
		{"kubeconfig-016", edit("current-context: c", "current-context: x"), `current-context is "x"`},
		{"no such cluster", edit("cluster: k,", "cluster: x,"), `cluster "x" of context "c" does not exist`},
		{"no such user", edit("user: u}", "user: x}"), `user "x" of context "c" does not exist`},
		{"kubeconfig-019", exec("apiVersion: client.authentication.k8s.io/v1"), `interactiveMode must be specified for "u"`},
		{"no command", user("exec: {apiVersion: client.authentication.k8s.io/v1beta1}"), `command must be specified for "u"`},
		{"no apiVersion", exec(""), `apiVersion must be specified for "u"`},
		{"an old apiVersion", exec("apiVersion: client.authentication.k8s.io/v1alpha1"), `apiVersion must be client.authentication.k8s.io/v1 or`},
		{"a terminal", exec("apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always"), `there is no terminal`},
		{"interactiveMode", exec("apiVersion: client.authentication.k8s.io/v1, interactiveMode: never"), `invalid interactiveMode`},
		{"env without name", exec("apiVersion: client.authentication.k8s.io/v1beta1, env: [{value: SECRET}]"), `env variable name must be specified`},
		{"exec with auth-provider", exec("apiVersion: client.authentication.k8s.io/v1beta1}, auth-provider: {name: gcp"), `auth-provider of "u" is not supported`},
		{"auth-provider", user("auth-provider: {name: gcp, config: {access-token: SECRET}}"), `use exec with the credential plugin`},
		{"as", user("as: root"), `as-user-extra of "u" are not supported`},
		{"as-groups", user("as-groups: [SECRET]"), `are not supported`},
		{"kubeconfig-023", good + "- name: u\n  user: {token: SECRET}\n", `users: duplicate name "u"`},
		{"duplicate cluster", edit("users:", "- name: k\n  cluster: {}\nusers:"), `clusters: duplicate name "k"`},
		{"duplicate context", edit("contexts: [", "contexts: [{name: c},"), `contexts: duplicate name "c"`},
		{"certificate without key", user("client-certificate: c.crt"), `client-key-data or client-key must be specified for "u"`},
		{"key without certificate", user("client-key: c.key"), `client-certificate-data or client-certificate must be specified`},
		{"key of another certificate", user("client-certificate: c.crt, client-key: other.key"), `private key does not match public key`},
		{"certificate file is missing", user("client-certificate: none, client-key: c.key"), `user "u": client-certificate: stat /etc/k/none`},
		{"key file is empty", user("client-certificate: c.crt, client-key: empty"), `user "u": client-key: /etc/k/empty is empty`},
		{"key is junk", user("client-certificate: c.crt, client-key: junk"), `client-certificate and client-key: /etc/k/c.crt and /etc/k/junk: tls:`},
		{"key data is not base64", user("client-certificate: c.crt, client-key-data: 'SECRET!'"), `user "u": client-key: its data is not base64`},
		{"CA is missing", strings.Replace(good, "{\"server\": \"https://h\", }", "{server: 'https://h', certificate-authority: none}", 1), `cluster "k": certificate-authority: stat /etc/k/none`},
		{"CA is junk", cluster("https://h", "certificate-authority: junk"), `certificate-authority: /etc/k/junk: there is no certificate in PEM form`},
		{"CA is cut off", cluster("https://h", "certificate-authority: cut"), `certificate-authority: /etc/k/cut: a certificate in it is cut off`},
		{"CA data is not base64", cluster("https://h", "certificate-authority-data: '?'"), `cluster "k": certificate-authority: its data is not base64`},
		{"tokenFile is missing", user("tokenFile: none"), `user "u": tokenFile: stat /etc/k/none`},
		{"tokenFile is blank", user("tokenFile: spaces"), `tokenFile: /etc/k/spaces must hold a token and nothing else`},
		{"tokenFile has two lines", user("tokenFile: two-lines"), `/etc/k/two-lines must hold a token and nothing else`},
		{"token has two lines", user(`token: "SECRET\nX"`), `token of "u" contains a control character`},
		{"a number for a string", user("token: 5"), `a string is needed here, and there is a number`},
		{"a string for a boolean", cluster("https://h", "insecure-skip-tls-verify: SECRET"), `clusters.cluster.insecure-skip-tls-verify: a bool is needed here`},
		{"a list for the file", "[]", `the file: a mapping is needed here, and there is a list: `},
		{"another kind", edit("kind: Config", "kind: Pod"), `of kind "Pod"`},
		{"another version", edit("apiVersion: v1", "apiVersion: v2"), `apiVersion "v2"`},
		{"YAML", good + "\tx", `line 11:`},
		{"all problems at once", user("client-key: c.key, auth-provider: {}"), `auth-provider`},
		{"a name with control characters", edit("current-context: c", `current-context: "x\n\u001b[1m"`), `current-context is "x  [1m"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := w.write("conf", test.text)
			_, err := New(w.config(path))
			mustFail(t, err, strings.ReplaceAll(test.want, "/etc/k", w.folder))
			if !strings.HasPrefix(err.Error(), "kubeconfig "+path+": ") {
				t.Errorf("error %q does not name the file", err)
			}
		})
	}
}

func TestKubeconfigs(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	client := ca.issue(t, "client")
	beside := files{
		"/t": " b \n", "/etc/k/sub/t": "c", "/etc/k/pki/c.crt": string(client.cert), "/etc/k/pki/c.key": string(client.key), "/etc/k/ca.crt": string(ca.cert),
	}
	user := func(fields string) string { return kubeconfigText("https://h", fields) }
	const exec = "exec: {command: x, apiVersion: client.authentication.k8s.io/v1beta1}"
	for _, test := range []struct {
		name, text string
		want       func(s *settings) (got, want any)
	}{
		{"kubeconfig-001", user("token: a, tokenFile: /t"), func(s *settings) (any, any) { return s.authorization(), "Bearer b" }},
		{"the inline token until the file can be read", user("token: a, tokenFile: /none"), func(s *settings) (any, any) { return s.authorization(), "Bearer a" }},
		{"kubeconfig-002", user("tokenFile: /t"), func(s *settings) (any, any) { return s.authorization(), "Bearer b" }},
		{"kubeconfig-004", user("client-certificate: pki/c.crt, client-key: pki/c.key"), func(s *settings) (any, any) { return string(s.to.certificate), string(client.cert) }},
		{"relative tokenFile", user("tokenFile: sub/../sub/t"), func(s *settings) (any, any) { return s.token, "c" }},
		{"relative CA", kubeconfigText("https://h", "", "certificate-authority: ca.crt"), func(s *settings) (any, any) { return string(s.to.ca), string(ca.cert) }},
		{"relative command", user("exec: {command: bin/x, apiVersion: client.authentication.k8s.io/v1beta1}"), func(s *settings) (any, any) { return s.exec.Command, "/etc/k/bin/x" }},
		{"command in the path", user(exec), func(s *settings) (any, any) { return s.exec.Command, "x" }},
		{"kubeconfig-018", kubeconfigText("https://h/prefix/", ""), func(s *settings) (any, any) {
			return s.server.JoinPath("apis", "g").String(), "https://h/prefix/apis/g"
		}},
		{"query and fragment", kubeconfigText("https://h/p?q=1#f", ""), func(s *settings) (any, any) { return s.server.String(), "https://h/p" }},
		{"encoded prefix", kubeconfigText("https://h/a%2Fb", ""), func(s *settings) (any, any) { return s.server.JoinPath("x").String(), "https://h/a%2Fb/x" }},
		{"upper case scheme", kubeconfigText("HTTPS://h", ""), func(s *settings) (any, any) { return s.server.String(), "https://h" }},
		{"kubeconfig-024", kubeconfigText("https://h", "foo: 1", "foo: 1") + "foo: [1]\n", func(s *settings) (any, any) { return s.server.String(), "https://h" }},
		{"no user", strings.Replace(user("token: a"), ", user: u}", "}", 1), func(s *settings) (any, any) { return s.authorization(), "" }},
		{"no kind and version", strings.Replace(strings.Replace(user("token: a"), "kind: Config\n", "", 1), "apiVersion: v1\n", "", 1), func(s *settings) (any, any) { return s.token, "a" }},
		{"basic", user("username: u, password: p"), func(s *settings) (any, any) { return s.authorization(), "Basic " + b64([]byte("u:p")) }},
		{"token and certificate", user("token: a, client-certificate: pki/c.crt, client-key: pki/c.key"), func(s *settings) (any, any) {
			return s.authorization() + string(s.to.key), "Bearer a" + string(client.key)
		}},
		{"exec beside a token", user("token: a, " + exec), func(s *settings) (any, any) { return s.exec == nil, true }},
		{"exec beside a password", user("username: a, " + exec), func(s *settings) (any, any) { return s.exec == nil, true }},
		{"exec beside a certificate", user("client-certificate: pki/c.crt, client-key: pki/c.key, " + exec), func(s *settings) (any, any) { return s.exec == nil, true }},
		{"exec alone", user(exec), func(s *settings) (any, any) { return s.exec != nil, true }},
		{"exec: null", user("token: a, exec: null, auth-provider: null"), func(s *settings) (any, any) { return s.token, "a" }},
		{"proxy-url", kubeconfigText("https://h", "", "proxy-url: 'socks5://p:1080'"), func(s *settings) (any, any) { return s.to.proxy.String(), "socks5://p:1080" }},
		{"flags", kubeconfigText("https://h", "", "disable-compression: true, insecure-skip-tls-verify: true, tls-server-name: name"), func(s *settings) (any, any) {
			return s.to, endpoint{host: "h", serverName: "name", insecure: true, disableCompression: true}
		}},
		{"errors elsewhere do not matter", user("token: a") + "- name: other\n  user: {auth-provider: {name: gcp}}\n", func(s *settings) (any, any) { return s.token, "a" }},
	} {
		s, err := loadText(test.text, beside)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got, want := test.want(s)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(endpoint{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// The kubeconfigs of testdata are as kubeadm, k3s, EKS, kind and kubectl write them.
func TestKubeconfigsInTheWild(t *testing.T) {
	t.Parallel()
	folder, err := filepath.Abs("testdata")
	must(t, err)
	for _, test := range []struct{ file, server, credential string }{
		{"kubeadm.yaml", "https://10.0.0.10:6443", "certificate"},
		{"k3s.yaml", "https://127.0.0.1:6443", "certificate"},
		{"eks.yaml", "https://0123456789ABCDEF0123456789ABCDEF.gr7.eu-central-1.eks.amazonaws.com", "exec aws"},
		{"eks-node.yaml", "https://0123456789ABCDEF0123456789ABCDEF.gr7.eu-central-1.eks.amazonaws.com", "exec " + filepath.Join(folder, "bin", "aws-iam-authenticator")},
		{"kind.yaml", "https://127.0.0.1:38267", "certificate"},
		{"kubectl.yaml", "https://lab.example:6443/k8s/clusters/c-1", "Bearer bootstrap.token"},
		{"kubectl.json", "https://lab.example:6443/k8s/clusters/c-1", "Bearer bootstrap.token"},
	} {
		c, err := New(Config{Kubeconfig: filepath.Join("testdata", test.file)})
		if err != nil {
			t.Errorf("%s: %v", test.file, err)
			continue
		}
		s, err := c.session()
		must(t, err)
		credential := s.authorization()
		if s.exec != nil {
			credential += "exec " + s.exec.Command
		}
		if len(s.to.certificate) > 0 {
			credential += "certificate"
		}
		if c.Server() != test.server || credential != test.credential || len(s.to.ca) == 0 {
			t.Errorf("%s: %s with %q and %d bytes of CA, want %s with %q", test.file, c.Server(), credential, len(s.to.ca), test.server, test.credential)
		}
		c.Close()
	}
}

func TestInCluster(t *testing.T) {
	ca := newAuthority(t, "ca")
	for _, test := range []struct {
		name, host, port string
		files            files
		server, err, log string
	}{
		{"IPv4", "10.0.0.1", "443", files{"token": " tok \n", "ca.crt": string(ca.cert)}, "https://10.0.0.1:443", "", ""},
		{"kubeconfig-026", "fd00::1", "443", files{"token": "tok", "ca.crt": string(ca.cert)}, "https://[fd00::1]:443", "", ""},
		{"no CA", "h", "6443", files{"token": "tok"}, "https://h:6443", "", "the system's roots are used"},
		{"a bad CA", "h", "6443", files{"token": "tok", "ca.crt": "junk"}, "https://h:6443", "", "the system's roots are used"},
		{"no token", "h", "443", files{"ca.crt": string(ca.cert)}, "", "automountServiceAccountToken", ""},
		{"an empty token", "h", "443", files{"token": ""}, "", "must hold a token", ""},
		{"no host", "", "443", files{"token": "tok"}, "", "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined", ""},
		{"no port", "h", "", files{"token": "tok"}, "", "must be defined", ""},
		{"a bad port", "h", "x", files{"token": "tok"}, "", "KUBERNETES_SERVICE_PORT: server must", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", test.host)
			t.Setenv("KUBERNETES_SERVICE_PORT", test.port)
			w := newWorldWithoutServer(t)
			for name, content := range test.files {
				w.write(name, content)
			}
			cfg := w.config("")
			cfg.InCluster = true
			c, err := newClient(cfg, w.folder)
			if test.err != "" {
				mustFail(t, err, test.err)
				return
			}
			must(t, err)
			defer c.Close()
			s, err := c.session()
			must(t, err)
			if c.Server() != test.server || s.authorization() != "Bearer tok" {
				t.Errorf("%s with %q, want %s", c.Server(), s.authorization(), test.server)
			}
			if !strings.Contains(w.log.text(), test.log) || (test.log == "") != (len(s.to.ca) > 0) {
				t.Errorf("%d bytes of CA, log %q", len(s.to.ca), w.log.text())
			}
		})
	}
}

// FuzzKubeconfig: whatever is read, it never panics, what is accepted has an
// https URL, and no error tells a secret.
func FuzzKubeconfig(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.*")
	must(f, err)
	beside := files{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		must(f, err)
		beside["/etc/k/"+filepath.Base(path)] = string(content)
		f.Add(content)
	}
	for _, user := range []string{
		"token: SECRET-1", "tokenFile: ca.crt", "username: u, password: SECRET-2", "auth-provider: {name: SECRET-3}", `token: "SECRET\n4"`,
		"exec: {command: ./x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, env: [{name: a, value: SECRET-5}]}",
	} {
		f.Add([]byte(kubeconfigText("https://h", user, "proxy-url: 'http://u:SECRET-6@p'")))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := loadText(string(content), beside)
		if (s == nil) == (err == nil) {
			t.Fatalf("settings %v and error %v", s, err)
		}
		if err == nil {
			if s.server.Scheme != "https" || s.server.Host == "" || s.server.User != nil {
				t.Errorf("server %q", s.server)
			}
			if !validHeader(s.authorization()) {
				t.Errorf("header %q", s.authorization())
			}
			return
		}
		if k, parseErr := parseKubeconfig(content); parseErr == nil {
			for _, secret := range secretsOf(k) {
				if bytes.Count(content, []byte(secret)) == 1 && strings.Contains(err.Error(), secret) {
					t.Errorf("error %q holds %q", err, secret)
				}
			}
		}
		if len(err.Error()) > 16<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

// secretsOf returns what nobody may see, as long as it is no common word.
func secretsOf(k *kubeconfig) (secrets []string) {
	add := func(values ...string) {
		for _, value := range values {
			if len(value) >= 8 {
				secrets = append(secrets, value)
			}
		}
	}
	for _, u := range k.Users {
		add(u.User.Token, u.User.Password, u.User.ClientKeyData)
		if u.User.Exec != nil {
			for _, env := range u.User.Exec.Env {
				add(env.Value)
			}
		}
	}
	return secrets
}

// FuzzAnswer: nothing is returned beside an error, and nobody is authenticated
// or allowed without the answer saying so in JSON.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"kind":"TokenReview","apiVersion":"g/v1","status":{"authenticated":true,"user":{"username":"u","extra":{"k":["v"]}}}}`))
	f.Add([]byte(`{"kind":"TokenReview","apiVersion":"g/v1","status":{"allowed":true,"denied":true,"reason":"r"}}`))
	f.Add([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":403}`))
	f.Add([]byte(`{"kind":"TokenReview","apiVersion":"g/v1","status":{"authenticated":"true"},"status":{"Allowed":true}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		status, err := decode[struct{ Authenticated, Allowed bool }](body, "TokenReview", "g/v1")
		if (status == nil) == (err == nil) {
			t.Fatalf("status %v and error %v", status, err)
		}
		if err != nil {
			if len(err.Error()) > 8<<10 || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q", err)
			}
			return
		}
		if (status.Authenticated && !says(body, "authenticated")) || (status.Allowed && !says(body, "allowed")) {
			t.Errorf("%+v of %q", status, body)
		}
	})
}

// says reports whether a status in the body has this key with the value true.
func says(body []byte, key string) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	var last string
	for {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		if token == true && strings.EqualFold(last, key) {
			return true
		}
		last, _ = token.(string)
	}
}
