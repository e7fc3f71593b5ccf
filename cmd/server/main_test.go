package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Every mistake is answered with what is wrong, where, and what to do.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	empty := file("empty", "")
	for _, tt := range []struct {
		args string
		code int
		want string // parts of the message
	}{
		{"--bogus", 2, "-bogus|-h"},
		{"--port=x", 2, "-port|number"},
		{"--port=0", 2, "--port 0|1 to 65535"},
		{"--port=65536", 2, "65535"},
		{"--address=localhost", 2, "--address|IP address"},
		{"serve", 2, `"serve"`},
		{"--anonymous-auth false", 2, `"false"|--name=false`},
		{"--anonymous-auth=maybe", 2, "-anonymous-auth|true or false"},
		{"--authorization-mode=RBAC", 2, "unknown authorization mode RBAC|Webhook"},
		{"--authorization-mode=webhook", 2, "unknown authorization mode webhook"},
		{"--authorization-mode=", 2, "no authorization mode specified"},
		{"--authentication-token-webhook-cache-ttl=2", 2, "2m"},
		{"--authentication-token-webhook-cache-ttl=-2m", 2, "not negative"},
		{"--feature-gates=Foo=true", 2, "Foo|KubeletFineGrainedAuthz"},
		{"--feature-gates=KubeletFineGrainedAuthz", 2, "name=true"},
		{"--tls-min-version=1.2", 2, "--tls-min-version|VersionTLS12"},
		{"--tls-cipher-suites=TLS_FOO", 2, "--tls-cipher-suites|Cipher suite TLS_FOO not supported or doesn't exist"},
		{"--kubeconfig=x --in-cluster", 2, "--kubeconfig and --in-cluster"},
		{"--kubeconfig", 2, "-kubeconfig"},
		{"--config= --address=0.0.0.0", 2, "--config is given and empty"},
		{"--config-dir=", 2, "--config-dir is given and empty"},

		{"--healthz-port=70000", 2, "--healthz-port 70000|65535"},
		{"--healthz-bind-address=x", 2, "--healthz-bind-address|IP address"},
		{"--request-attributes=path", 2, "--request-attributes|nonresource"},
		{"--upstream-paths=/x", 2, "need --upstream"},
		{"--upstream-identity-headers", 2, "need --upstream"},
		{"--upstream=http://127.0.0.1:1 --upstream-paths=x", 2, "--upstream-paths|slash"},
		{"--upstream=127.0.0.1:9100", 1, "--upstream: must be http://"},
		{"--upstream=http://user:secret@127.0.0.1:9100", 1, "--upstream: must be http://"},
		{"--upstream=http://192.0.2.1:1 --upstream-protocol=h2c", 1, "--upstream-protocol|loopback"},
		{"--upstream=https://127.0.0.1:1 --upstream-ca-file=" + dir + "/none", 1, "--upstream-ca-file|none"},

		{"--authorization-mode=Webhook", 1, "no client provided, cannot use webhook authorization|--kubeconfig"},
		{"--authentication-token-webhook", 1, "no client provided, cannot use webhook authentication|--in-cluster"},
		{"--authorization-mode=Webhook --kubeconfig=" + dir + "/none", 1, "--kubeconfig|none"},
		{"--authorization-mode=Webhook --in-cluster", 1, "KUBERNETES_SERVICE_HOST"},
		{"--hostname-override= --client-ca-file=" + dir + "/none", 1, "--client-ca-file|none"},
		{"--client-ca-file=" + empty, 1, `missing content for CA bundle "client-ca-bundle::` + empty},
		{"--client-ca-file=" + file("text", "text"), 1, "data does not contain any valid RSA or ECDSA certificates"},
		{"--client-ca-file=" + dir, 1, "not a regular file"},
		{"--tls-cert-file=" + empty, 1, "--tls-cert-file and --tls-private-key-file"},
		{"--tls-cert-file=" + empty + " --tls-private-key-file=" + empty, 1, "--tls-cert-file|" + empty},
		{"--cert-dir=" + empty, 1, "--cert-dir|" + empty},
		{"--port=" + port, 1, "in use|--port"},
		{"--address=192.0.2.1 --port=" + port, 1, "192.0.2.1|--address"},

		{"--config=" + dir + "/none", 1, "--config|none"},
		{"--config=" + empty, 1, "--config|" + empty + "|KubeletConfiguration"},
		{"--config=" + file("field.yaml", head+"adress: 1.2.3.4\n"), 1, `field.yaml|unknown field "adress"`},
		{"--config=" + file("case.yaml", head+"Address: 1.2.3.4\n"), 1, `unknown field "Address"`},
		{"--config=" + file("nested.yaml", head+"authentication: {anonymous: {enable: false}}\n"), 1, `"authentication.anonymous.enable"`},
		{"--config=" + file("type.yaml", head+"authentication: {anonymous: {enabled: 'no'}}\n"), 1, "authentication.anonymous.enabled|bool"},
		{"--config=" + file("port.yaml", head+"port: 70000\n"), 1, "port|65535"},
		{"--config=" + file("ttl.yaml", head+"authentication: {webhook: {cacheTTL: 2}}\n"), 1, "cacheTTL|2m"},
		{"--config=" + file("syntax.yaml", head+"address: {\n"), 1, "syntax.yaml|line"},
		{"--config=" + file("anchor.yaml", head+"address: &a 1.2.3.4\n"), 1, "line 3"},
		{"--config=" + file("kind.yaml", "apiVersion: v1\nkind: Pod\n"), 1, `"Pod"|KubeletConfiguration`},
		{"--config=" + file("curves.yaml", head+"authorization: {mode: AlwaysAllow}\nauthentication: {webhook: {enabled: false}}\ntlsCurvePreferences: [23, 23]\n"), 1, "duplicate curve preference 23"},
		{"--config-dir=" + dir + "/none", 1, "--config-dir|none"},
	} {
		var stderr bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // should it serve after all, it ends at once
		code := run(ctx, strings.Fields(tt.args), &bytes.Buffer{}, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		message := lines[len(lines)-1]
		if code != tt.code || !strings.HasPrefix(message, "server: ") {
			t.Errorf("%s: exit code %d, want %d: %s", tt.args, code, tt.code, message)
		}
		for part := range strings.SplitSeq(tt.want, "|") {
			if !strings.Contains(message, part) {
				t.Errorf("%s: %q lacks %q", tt.args, message, part)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	for _, arg := range []string{"-h", "--help"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{arg}, &stdout, &stderr); code != 0 || stderr.Len() != 0 {
			t.Errorf("%s: exit code %d, %s", arg, code, stderr.String())
		}
		for _, part := range []string{"Usage: server", "\nAuthentication:\n", "--anonymous-auth true|false (default true)", "field authentication.anonymous.enabled", "\nExample"} {
			if !strings.Contains(stdout.String(), part) {
				t.Errorf("%s lacks %q", arg, part)
			}
		}
	}
}

// A real node's configuration loads, and what has no meaning here is said once.
func TestNodeConfiguration(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	os.WriteFile(config, []byte(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false, cacheTTL: 0s}
authorization: {mode: AlwaysAllow}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
featureGates: {KubeletFineGrainedAuthz: true, NodeSwap: false}
`), 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	code := run(ctx, []string{"--config", config, "--port", strconv.Itoa(freePort(t))}, &bytes.Buffer{}, &stderr)
	if code != 0 || strings.Count(stderr.String(), "cgroupDriver clusterDNS featureGates.NodeSwap") != 1 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
