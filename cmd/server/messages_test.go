//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

// Every mistake is answered with what is wrong, where, and what to do: word for
// word, but for $D, a folder, and $P, a port that is taken.
func TestMessages(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	mistakes(t, dir)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, tt := range messages {
		var stderr bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // should it serve after all, it ends at once
		args := strings.NewReplacer("$D", dir, "$P", port).Replace(tt.args)
		code := run(ctx, strings.Fields(args), &bytes.Buffer{}, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		got := strings.NewReplacer(dir, "$D", ":"+port, ":$P").Replace(lines[len(lines)-1])
		if want := "server: " + tt.want; code != tt.code || got != want {
			t.Errorf("%s\n got %d %s\nwant %d %s", tt.args, code, got, tt.code, want)
		}
	}
}

// What a client is refused for is in the log: who asked for what, why not, and
// whether it is the client's fault (INFO) or this side's (ERROR).
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	api := apiservertest.MustStart(t, apiservertest.Config{})
	api.SetToken("jane-token", authn.UserInfo{Username: "jane", Groups: []string{"dev"}})
	api.SetToken("nobody-token", authn.UserInfo{})
	api.AllowUser("jane", "get", "stats")
	ca := apiservertest.MustNewCA(t, "client-ca")
	port := strconv.Itoa(freePort(t))
	log := serving(t, port, "--anonymous-auth=false", "--client-ca-file="+file(t, dir, "ca.crt", ca.PEM()), "--authentication-token-webhook",
		"--authorization-mode=Webhook", "--kubeconfig="+file(t, dir, "kubeconfig", api.Kubeconfig("")), "--hostname-override=n1")

	valid := apiservertest.Certificate{CommonName: "jane", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	server, expired := valid, valid
	server.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	expired.NotBefore, expired.NotAfter = time.Unix(1e9, 0), time.Unix(1e9+60, 0)
	known := ca.MustIssue(t, valid)
	for _, tt := range []struct {
		name, path, token string
		certificate       *tls.Certificate
		fault             string // the resource that fails
		code              int
		want              string
	}{
		{"no credential", "/metrics", "", nil, "", 401, `level=INFO msg=Unauthorized method=GET path=/metrics`},
		{"certificate of another authority", "/metrics", "", new(apiservertest.MustNewCA(t, "other-ca").MustIssue(t, valid)), "", 401, `level=INFO msg="Unable to authenticate the request due to an error" method=GET path=/metrics err="verifying certificate SN, SKID=, AKID failed: x509: certificate signed by unknown authority"`},
		{"expired certificate", "/metrics", "", new(ca.MustIssue(t, expired)), "", 401, `level=INFO msg="Unable to authenticate the request due to an error" method=GET path=/metrics err="verifying certificate SN, SKID=, AKID failed: x509: certificate has expired or is not yet valid:  is after 2001-09-09T01:47:40Z"`},
		{"serving certificate", "/metrics", "", new(ca.MustIssue(t, server)), "", 401, `level=INFO msg="Unable to authenticate the request due to an error" method=GET path=/metrics err="verifying certificate SN, SKID=, AKID failed: x509: certificate specifies an incompatible key usage"`},
		{"unknown token", "/metrics", "stolen-token", nil, "", 401, `level=INFO msg="Unable to authenticate the request due to an error" method=GET path=/metrics err="invalid bearer token"`},
		{"token of nobody", "/metrics", "nobody-token", nil, "", 401, `level=INFO msg="Unable to authenticate the request due to an error" method=GET path=/metrics err="the API server authenticated the token without a user name"`},
		{"endless token", "/metrics", strings.Repeat("x-token", 3000), nil, "", 401, `level=INFO msg="Unable to authenticate the request due to an error" method=GET path=/metrics err="the token is longer than 16384 bytes"`},
		{"token, and reviews are forbidden", "/metrics", "janes-other-token", nil, apiservertest.TokenReviews, 401, `level=ERROR msg="Failed to make webhook authenticator request" err="the API server answered 403 (Forbidden) to POST $URL/apis/authentication.k8s.io/v1/tokenreviews: tokenreviews.authentication.k8s.io is forbidden: User \"apiservertest-client\" cannot create resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope" grant="{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'kubeletauth:auth-delegator-b88052fa'}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:auth-delegator'}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'apiservertest-client'}]}" hint="this server's user needs a ClusterRoleBinding to the ClusterRole system:auth-delegator"` + "\n" +
			`level=ERROR msg="Unable to authenticate the request due to an error" method=GET path=/metrics err="the API server answered 403 (Forbidden) to POST $URL/apis/authentication.k8s.io/v1/tokenreviews: tokenreviews.authentication.k8s.io is forbidden: User \"apiservertest-client\" cannot create resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope"`},
		{"encoded slash", "/stats%2fsummary", "jane-token", nil, "", 400, `level=INFO msg="Bad Request" method=GET path=/stats%2fsummary err="the path has an encoded slash or dot segment, a backslash or a NUL: two programs could read it in two ways"`},
		{"not allowed", "/metrics", "jane-token", nil, "", 403, `level=INFO msg=Forbidden method=GET path=/metrics user=jane verb=get subresources=[metrics] reason="RBAC: no rules authorize user \"jane\" with groups [\"dev\" \"system:authenticated\"] to \"get\" resource \"nodes/metrics\" named \"n1\" cluster-wide"`},
		{"not allowed, by certificate", "/configz", "", &known, "", 403, `level=INFO msg=Forbidden method=GET path=/configz user=jane verb=get subresources=[proxy] reason="RBAC: no rules authorize user \"jane\" with groups [\"system:authenticated\"] to \"get\" resource \"nodes/proxy\" named \"n1\" cluster-wide"`},
		{"allowed, and reviews are forbidden", "/stats/summary", "", &known, apiservertest.SubjectAccessReviews, 500, `level=ERROR msg="Failed to make webhook authorizer request" err="the API server answered 403 (Forbidden) to POST $URL/apis/authorization.k8s.io/v1/subjectaccessreviews: subjectaccessreviews.authorization.k8s.io is forbidden: User \"apiservertest-client\" cannot create resource \"subjectaccessreviews\" in API group \"authorization.k8s.io\" at the cluster scope" grant="{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'kubeletauth:auth-delegator-b88052fa'}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:auth-delegator'}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'apiservertest-client'}]}" hint="this server's user needs a ClusterRoleBinding to the ClusterRole system:auth-delegator"` + "\n" +
			`level=ERROR msg="Authorization error" method=GET path=/stats/summary user=jane verb=get subresources=[stats] reason="" err="the API server answered 403 (Forbidden) to POST $URL/apis/authorization.k8s.io/v1/subjectaccessreviews: subjectaccessreviews.authorization.k8s.io is forbidden: User \"apiservertest-client\" cannot create resource \"subjectaccessreviews\" in API group \"authorization.k8s.io\" at the cluster scope"`},
		{"allowed", "/stats/summary", "", &known, "", 200, ""},
	} {
		if tt.fault != "" {
			api.Inject(tt.fault, apiservertest.Fault{Times: 1, Status: 403})
		}
		request, _ := http.NewRequest("GET", "https://127.0.0.1:"+port+tt.path, nil)
		if tt.token != "" {
			request.Header.Set("Authorization", "Bearer "+tt.token)
		}
		before := len(log.String())
		if code := status(t, request, tt.certificate); code != tt.code {
			t.Errorf("%s: %d, want %d", tt.name, code, tt.code)
		}
		got := strings.TrimSpace(strings.ReplaceAll(log.String()[before:], api.URL, "$URL"))
		got = regexp.MustCompile(`(SN|AKID)=[0-9A-F:]+|current time \S+`).ReplaceAllString(got, "$1")
		got = regexp.MustCompile(`time=\S+ |remote=127\.0\.0\.1:\d+ `).ReplaceAllString(got, "")
		if got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	if strings.Contains(log.String(), "-token") {
		t.Error("the log has a token")
	}
}

// syncBuffer is a log that is written and read at the same time.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serving runs the server until the test ends, and returns its log.
func serving(t *testing.T, port string, args ...string) *syncBuffer {
	t.Helper()
	log := new(syncBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, append(args, "--port="+port, "--healthz-port=0"), io.Discard, log) }()
	t.Cleanup(func() { cancel(); <-ended })
	for !strings.Contains(log.String(), "msg=Serving") {
		select {
		case code := <-ended:
			t.Fatalf("exit code %d: %s", code, log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return log
}

// status sends a request over a connection of its own.
func status(t *testing.T, request *http.Request, certificate *tls.Certificate) int {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil { // whatever authorities the server names
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func file(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mistakes writes the files that rows name.
func mistakes(t *testing.T, dir string) {
	api := apiservertest.MustStart(t, apiservertest.Config{})
	good := string(api.Kubeconfig(""))
	ca := apiservertest.MustNewCA(t, "ca")
	a, b := ca.MustIssue(t, apiservertest.Certificate{CommonName: "a"}), ca.MustIssue(t, apiservertest.Certificate{CommonName: "b"})
	for name, content := range map[string]string{
		"empty": "", "text": "text", "big": strings.Repeat("#", 1<<20+1),
		"a.crt": string(apiservertest.CertPEM(a)), "a.key": string(apiservertest.KeyPEM(a)), "b.key": string(apiservertest.KeyPEM(b)),
		"big.crt": string(apiservertest.CertPEM(a)) + strings.Repeat("#", 1<<20),

		"field.yaml":    configHead + "adress: 1.2.3.4\n",
		"case.yaml":     configHead + "Address: 1.2.3.4\n",
		"nested.yaml":   configHead + "authentication: {anonymous: {enable: false}}\n",
		"bool.yaml":     configHead + "authentication: {anonymous: {enabled: 'no'}}\n",
		"object.yaml":   configHead + "authentication: true\n",
		"list.yaml":     configHead + "tlsCipherSuites: TLS_AES_128_GCM_SHA256\n",
		"string.yaml":   configHead + "address: 10\n",
		"port.yaml":     configHead + "port: 70000\n",
		"address.yaml":  configHead + "address: localhost\n",
		"ttl.yaml":      configHead + "authentication: {webhook: {cacheTTL: 2}}\n",
		"mode.yaml":     configHead + "authorization: {mode: RBAC}\n",
		"version.yaml":  configHead + "tlsMinVersion: TLS1.2\n",
		"suite.yaml":    configHead + "tlsCipherSuites: [TLS_FOO]\n",
		"curves.yaml":   configHead + "tlsCurvePreferences: [23, 23]\n",
		"paths.yaml":    configHead + "authentication: {anonymous: {enabled: true, conditions: [{prefix: /healthz}]}}\n",
		"client.yaml":   configHead,
		"ca.yaml":       configHead + "authentication: {x509: {clientCAFile: pki/ca.crt}}\nauthorization: {mode: AlwaysAllow}\n",
		"flow.yaml":     configHead + "address: {\n",
		"anchor.yaml":   configHead + "address: &a 1.2.3.4\n",
		"tab.yaml":      configHead + "authentication:\n\tanonymous: {}\n",
		"twice.yaml":    configHead + "port: 1\nport: 2\n",
		"indent.yaml":   configHead + "authentication:\n   anonymous:\n     enabled: false\n  webhook: {}\n",
		"colon.yaml":    configHead + "address 1.2.3.4\n",
		"two.yaml":      configHead + "---\n" + configHead,
		"pod.yaml":      "apiVersion: v1\nkind: Pod\n",
		"dropin/a.conf": configHead + "kubeAPIQPS: many\n",

		"context.conf": strings.Replace(good, "current-context: apiservertest", "current-context: other", 1),
		"current.conf": strings.Replace(good, "current-context: apiservertest", "", 1),
		"http.conf":    strings.Replace(good, "https://", "http://", 1),
		"user.conf":    strings.Replace(good, "- name: client\n", "- name: somebody\n", 1),
		"base64.conf":  strings.Replace(good, "certificate-authority-data: ", "certificate-authority-data: $", 1),
		"pem.conf":     strings.Replace(good, "certificate-authority-data: ", "certificate-authority-data: aGVsbG8= #", 1),
		"number.conf":  strings.Replace(good, "token: ", "token: 1 # ", 1),
		"file.conf":    strings.Replace(good, "token: ", "tokenFile: none # ", 1),
		"cert.conf":    strings.Replace(good, "token: ", "client-certificate: a.crt # ", 1),
		"pair.conf":    strings.Replace(good, "token: ", "client-certificate: a.crt\n    client-key: b.key # ", 1),
		"as.conf":      strings.Replace(good, "token: ", "as: root # ", 1),
		"exec.conf":    strings.Replace(good, "token: ", "exec: {command: none} # ", 1),
		"kind.conf":    "kind: Pod\napiVersion: v1\n",
	} {
		file(t, dir, name, []byte(content))
	}
}

var messages = []struct {
	args string
	code int
	want string
}{
	{"--bogus", 2, "flag provided but not defined: -bogus (-h lists the flags)"},
	{"--cgroup-driver=systemd", 2, "--cgroup-driver is a flag of the kubelet that has no meaning here: remove it (-h lists the flags)"},
	{"--make-iptables-util-chains", 2, "--make-iptables-util-chains is a flag of the kubelet that has no meaning here: remove it (-h lists the flags)"},
	{"--node_ip=::", 2, "--node-ip is a flag of the kubelet that has no meaning here: remove it (-h lists the flags)"},
	{"-v 2", 2, "--v is a flag of the kubelet that has no meaning here: remove it (-h lists the flags)"},
	{"--port=x", 2, `invalid value "x" for flag -port: want a number (-h lists the flags)`},
	{"--port=99999999999999999999", 2, `invalid value "99999999999999999999" for flag -port: want a number (-h lists the flags)`},
	{"--port=0", 2, "--port 0: must be from 1 to 65535 (-h lists the flags)"},
	{"--port=65536", 2, "--port 65536: must be from 1 to 65535 (-h lists the flags)"},
	{"--address=localhost", 2, `--address "localhost": must be an IP address (-h lists the flags)`},
	{"--address=", 2, `--address "": must be an IP address (-h lists the flags)`},
	{"serve", 2, `unexpected argument "serve": on and off are given as --name=true and --name=false, and a subcommand comes before all flags (-h lists the flags)`},
	{"--anonymous-auth false", 2, `unexpected argument "false": on and off are given as --name=true and --name=false, and a subcommand comes before all flags (-h lists the flags)`},
	{"--anonymous-auth=maybe", 2, `invalid boolean value "maybe" for -anonymous-auth: want true or false (-h lists the flags)`},
	{"--anonymous-auth=false --anonymous-auth-paths=/healthz", 2, "--anonymous-auth-paths: needs --anonymous-auth=true, as it says for which paths that is (-h lists the flags)"},
	{"--anonymous-auth-paths=healthz", 2, `--anonymous-auth-paths "healthz": must begin with a slash (-h lists the flags)`},
	{"--authorization-mode=RBAC", 2, "unknown authorization mode RBAC (--authorization-mode is Webhook or AlwaysAllow) (-h lists the flags)"},
	{"--authorization-mode=webhook", 2, "unknown authorization mode webhook (--authorization-mode is Webhook or AlwaysAllow) (-h lists the flags)"},
	{"--authorization-mode=", 2, "no authorization mode specified (set --authorization-mode to Webhook or AlwaysAllow) (-h lists the flags)"},
	{"--authentication-token-webhook-cache-ttl=2", 2, `invalid value "2" for flag -authentication-token-webhook-cache-ttl: want a duration such as 2m or 30s (-h lists the flags)`},
	{"--authentication-token-webhook-cache-ttl=-2m", 2, `invalid value "-2m" for flag -authentication-token-webhook-cache-ttl: want a duration that is not negative (0 is off) (-h lists the flags)`},
	{"--feature-gates=Foo=true", 2, "--feature-gates: unknown feature gate Foo (there is KubeletFineGrainedAuthz) (-h lists the flags)"},
	{"--feature-gates=KubeletFineGrainedAuthz", 2, `invalid value "KubeletFineGrainedAuthz" for flag -feature-gates: want name=true or name=false, not "KubeletFineGrainedAuthz" (-h lists the flags)`},
	{"--feature-gates=KubeletFineGrainedAuthz=yes", 2, `invalid value "KubeletFineGrainedAuthz=yes" for flag -feature-gates: want name=true or name=false, not "KubeletFineGrainedAuthz=yes" (-h lists the flags)`},
	{"--tls-min-version=1.2", 2, `--tls-min-version: unknown tls version "1.2" (want VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13) (-h lists the flags)`},
	{"--tls-cipher-suites=TLS_FOO", 2, "--tls-cipher-suites: Cipher suite TLS_FOO not supported or doesn't exist (want a name such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) (-h lists the flags)"},
	{"--kubeconfig=x --in-cluster", 2, "--kubeconfig and --in-cluster: give one of them (-h lists the flags)"},
	{"--kubeconfig", 2, "flag needs an argument: -kubeconfig (-h lists the flags)"},
	{"--kube-api-qps=-1", 2, "--kube-api-qps and --kube-api-burst: must be 0, which is the default, or more (-h lists the flags)"},
	{"--kube-api-burst=-1", 2, "--kube-api-qps and --kube-api-burst: must be 0, which is the default, or more (-h lists the flags)"},
	{"--config= --address=0.0.0.0", 2, "--config is given and empty: name a file or folder, or leave it out (-h lists the flags)"},
	{"--config-dir=", 2, "--config-dir is given and empty: name a file or folder, or leave it out (-h lists the flags)"},
	{"--healthz-port=70000", 2, "--healthz-port 70000: must be from 0, which is off, to 65535 (-h lists the flags)"},
	{"--healthz-bind-address=x", 2, `--healthz-bind-address "x": must be an IP address (-h lists the flags)`},
	{"--request-attributes=path", 2, `--request-attributes "path": must be kubelet or nonresource (-h lists the flags)`},
	{"--upstream-paths=/x", 2, "--upstream-*: need --upstream to say where requests are passed on to (-h lists the flags)"},
	{"--upstream-identity-headers", 2, "--upstream-*: need --upstream to say where requests are passed on to (-h lists the flags)"},
	{"--upstream=http://127.0.0.1:1 --upstream-paths=x", 2, `--upstream-paths "x": must begin with a slash (-h lists the flags)`},
	{"--upstream=127.0.0.1:9100", 1, "--upstream: must be http://host:port, https://host:port or unix:///path/of.sock, and no more"},
	{"--upstream=http://user:secret@127.0.0.1:9100", 1, "--upstream: must be http://host:port, https://host:port or unix:///path/of.sock, and no more"},
	{"--upstream=http://192.0.2.1:1 --upstream-protocol=h2c", 1, "--upstream-protocol: must be empty, or h2c with an http:// upstream on a loopback address or a unix:// one"},
	{"--upstream=http://127.0.0.1:1 --upstream-protocol=h3", 1, "--upstream-protocol: must be empty, or h2c with an http:// upstream on a loopback address or a unix:// one"},
	{"--upstream=https://127.0.0.1:1 --upstream-ca-file=$D/none", 1, "--upstream-ca-file: stat $D/none: no such file or directory"},
	{"--upstream=https://127.0.0.1:1 --upstream-ca-file=$D/text", 1, "--upstream-ca-file: there is no certificate in PEM form in $D/text"},
	{"--upstream=https://127.0.0.1:1 --upstream-cert-file=$D/a.crt", 2, "--upstream-cert-file and --upstream-key-file go together: give both, or neither (-h lists the flags)"},
	{"--upstream=http://127.0.0.1:1 --upstream-ca-file=$D/a.crt", 1, "--upstream-ca-file, --upstream-cert-file, --upstream-key-file: are for an https:// upstream"},

	{"--read-only-port=0", 2, "--read-only-port is a flag of the kubelet that has no meaning here: remove it (-h lists the flags)"},
	{"--decision-log-mode=fast", 2, `--decision-log-mode "fast": must be drop or blocking (-h lists the flags)`},
	{"--decision-log=$D/none/log", 1, "--decision-log: decision log: open $D/none/log: no such file or directory"},
	{"--decision-log=$D", 1, "--decision-log: decision log: open $D: is a directory"},
	{"--authorization-mode=Webhook", 1, "no client provided, cannot use webhook authorization (set --kubeconfig, or --in-cluster in a pod)"},
	{"--authentication-token-webhook", 1, "no client provided, cannot use webhook authentication (set --kubeconfig, or --in-cluster in a pod)"},
	{"--authorization-mode=Webhook --in-cluster", 1, "--in-cluster: unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined: outside of a pod, use a kubeconfig"},
	{"--client-ca-file=$D/none", 1, "--client-ca-file: stat $D/none: no such file or directory"},
	{"--client-ca-file=$D", 1, "--client-ca-file: read $D: not a regular file"},
	{"--client-ca-file=$D/empty", 1, `--client-ca-file: missing content for CA bundle "client-ca-bundle::$D/empty": the file is empty`},
	{"--client-ca-file=$D/text", 1, `--client-ca-file: error loading CA bundle for "client-ca-bundle::$D/text": data does not contain any valid RSA or ECDSA certificates (want PEM with CERTIFICATE blocks)`},
	{"--client-ca-file=$D/a.key", 1, `--client-ca-file: error loading CA bundle for "client-ca-bundle::$D/a.key": data does not contain any valid RSA or ECDSA certificates (want PEM with CERTIFICATE blocks)`},
	{"--tls-cert-file=$D/big.crt --tls-private-key-file=$D/a.key", 1, "--tls-cert-file, --tls-private-key-file: read $D/big.crt: larger than 1048576 bytes"},
	{"--client-ca-file=$D/big", 1, "--client-ca-file: read $D/big: larger than 1048576 bytes"},

	{"--tls-cert-file=$D/a.crt", 1, "--tls-cert-file and --tls-private-key-file go together: give both, or neither for a certificate that is made"},
	{"--tls-cert-file=$D/none --tls-private-key-file=$D/a.key", 1, "--tls-cert-file, --tls-private-key-file: stat $D/none: no such file or directory"},
	{"--tls-cert-file=$D/empty --tls-private-key-file=$D/a.key", 1, "--tls-cert-file, --tls-private-key-file: $D/empty and $D/a.key: tls: failed to find any PEM data in certificate input"},
	{"--tls-cert-file=$D/a.key --tls-private-key-file=$D/a.crt", 1, "--tls-cert-file, --tls-private-key-file: $D/a.key and $D/a.crt: tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"},
	{"--tls-cert-file=$D/a.crt --tls-private-key-file=$D/b.key", 1, "--tls-cert-file, --tls-private-key-file: $D/a.crt and $D/b.key: tls: private key does not match public key"},
	{"--hostname-override=n1 --cert-dir=$D/empty", 1, "making a serving certificate for n1 (--hostname-override, --cert-dir): mkdir $D/empty: not a directory"},
	{"--port=$P", 1, "listen tcp 127.0.0.1:$P: bind: address already in use (is a kubelet or another copy of this program running? --port gives another port)"},
	{"--address=192.0.2.1 --port=$P", 1, "listen tcp 192.0.2.1:$P: bind: cannot assign requested address (--address must be an address of this machine)"},

	{"--config=$D/none", 1, "--config: open $D/none: no such file or directory"},
	{"--config=$D", 1, "--config: read $D: is a directory"},
	{"--config=$D/empty", 1, `--config: $D/empty: apiVersion "", kind "": want kubelet.config.k8s.io/v1beta1, KubeletConfiguration`},
	{"--config=$D/text", 1, "--config: $D/text: not a KubeletConfiguration: want a mapping"},
	{"--config=$D/big", 1, "--config: $D/big: larger than 1048576 bytes"},
	{"--config=$D/field.yaml", 1, `--config: $D/field.yaml: unknown field "adress": mind its spelling, small and capital letters too`},
	{"--config=$D/case.yaml", 1, `--config: $D/case.yaml: unknown field "Address": mind its spelling, small and capital letters too`},
	{"--config=$D/nested.yaml", 1, `--config: $D/nested.yaml: unknown field "authentication.anonymous.enable": mind its spelling, small and capital letters too`},
	{"--config=$D/bool.yaml", 1, "--config: $D/bool.yaml: field authentication.anonymous.enabled: want true or false, not a string"},
	{"--config=$D/object.yaml", 1, "--config: $D/object.yaml: field authentication: want a mapping, not a bool"},
	{"--config=$D/list.yaml", 1, "--config: $D/list.yaml: field tlsCipherSuites: want a list, not a string"},
	{"--config=$D/string.yaml", 1, "--config: $D/string.yaml: field address: want a string, not a number"},
	{"--config=$D/port.yaml", 1, "$D/port.yaml: --port 70000: must be from 1 to 65535 (-h says which field means the same as a flag)"},
	{"--config=$D/address.yaml", 1, `$D/address.yaml: --address "localhost": must be an IP address (-h says which field means the same as a flag)`},
	{"--config=$D/ttl.yaml", 1, "--config: $D/ttl.yaml: field authentication.webhook.cacheTTL: want a duration such as 2m or 30s"},
	{"--config=$D/mode.yaml", 1, "$D/mode.yaml: unknown authorization mode RBAC (--authorization-mode is Webhook or AlwaysAllow) (-h says which field means the same as a flag)"},
	{"--config=$D/version.yaml", 1, `$D/version.yaml: --tls-min-version: unknown tls version "TLS1.2" (want VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13) (-h says which field means the same as a flag)`},
	{"--config=$D/suite.yaml", 1, "$D/suite.yaml: --tls-cipher-suites: Cipher suite TLS_FOO not supported or doesn't exist (want a name such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) (-h says which field means the same as a flag)"},
	{"--config=$D/curves.yaml", 1, "$D/curves.yaml: tlsCurvePreferences: duplicate curve preference 23 (-h says which field means the same as a flag)"},
	{"--config=$D/paths.yaml", 1, `--config: $D/paths.yaml: field authentication.anonymous.conditions: unknown field "prefix"`},
	{"--config=$D/client.yaml", 1, "no client provided, cannot use webhook authentication (set --kubeconfig, or --in-cluster in a pod)"},
	{"--config=$D/ca.yaml --authentication-token-webhook=false", 1, "--client-ca-file: stat $D/pki/ca.crt: no such file or directory"},
	{"--config=$D/flow.yaml", 1, "--config: $D/flow.yaml: line 3: a bracket or brace on this line is never closed: close it"},
	{"--config=$D/anchor.yaml", 1, "--config: $D/anchor.yaml: line 3: anchors (&) and aliases (*) are not supported: write the value out, or quote the value if it is meant literally"},
	{"--config=$D/tab.yaml", 1, "--config: $D/tab.yaml: line 4: the line is indented with a tab: use spaces"},
	{"--config=$D/twice.yaml", 1, `--config: $D/twice.yaml: line 4: the key "port" is on line 3 already: remove one`},
	{"--config=$D/indent.yaml", 1, "--config: $D/indent.yaml: line 6: the line is indented more than the one it should line up with: check the indentation"},
	{"--config=$D/colon.yaml", 1, `--config: $D/colon.yaml: line 3: there is no ":" after the key on its line: write "key: value"`},
	{"--config=$D/two.yaml", 1, "--config: $D/two.yaml: line 4: only one document can be read, and a second begins here: keep one to a file"},
	{"--config=$D/pod.yaml", 1, `--config: $D/pod.yaml: apiVersion "v1", kind "Pod": want kubelet.config.k8s.io/v1beta1, KubeletConfiguration`},
	{"--config-dir=$D/none", 1, "--config-dir: lstat $D/none: no such file or directory"},
	{"--config-dir=$D/dropin", 1, "--config-dir: $D/dropin/a.conf: field kubeAPIQPS: want a whole number, not a string"},

	{"--authorization-mode=Webhook --kubeconfig=$D/none", 1, "--kubeconfig: kubeconfig $D/none: stat $D/none: no such file or directory"},
	{"--authorization-mode=Webhook --kubeconfig=$D/empty", 1, "--kubeconfig: kubeconfig $D/empty: no configuration has been provided: current-context is empty; write the name of a context there, or choose the in-cluster configuration"},
	{"--authorization-mode=Webhook --kubeconfig=$D/text", 1, "--kubeconfig: kubeconfig $D/text: the file: a mapping is needed here, and there is a string: check quotation marks and indentation"},
	{"--authorization-mode=Webhook --kubeconfig=$D/kind.conf", 1, `--kubeconfig: kubeconfig $D/kind.conf: it is of kind "Pod" in apiVersion "v1", and must be of kind Config in apiVersion v1`},
	{"--authorization-mode=Webhook --kubeconfig=$D/context.conf", 1, `--kubeconfig: kubeconfig $D/context.conf: context was not found for specified context: current-context is "other", and contexts has no such name`},
	{"--authorization-mode=Webhook --kubeconfig=$D/current.conf", 1, "--kubeconfig: kubeconfig $D/current.conf: no configuration has been provided: current-context is empty; write the name of a context there, or choose the in-cluster configuration"},
	{"--authorization-mode=Webhook --kubeconfig=$D/http.conf", 1, `--kubeconfig: kubeconfig $D/http.conf: cluster "apiservertest": server must start with https://, and be a URL: credentials are never sent over plain http`},
	{"--authorization-mode=Webhook --kubeconfig=$D/user.conf", 1, `--kubeconfig: kubeconfig $D/user.conf: user "client" of context "apiservertest" does not exist: users has no such name`},
	{"--authorization-mode=Webhook --kubeconfig=$D/base64.conf", 1, `--kubeconfig: kubeconfig $D/base64.conf: cluster "apiservertest": certificate-authority: its data is not base64`},
	{"--authorization-mode=Webhook --kubeconfig=$D/pem.conf", 1, `--kubeconfig: kubeconfig $D/pem.conf: cluster "apiservertest": certificate-authority: its data: there is no certificate in PEM form in it`},
	{"--authorization-mode=Webhook --kubeconfig=$D/number.conf", 1, "--kubeconfig: kubeconfig $D/number.conf: users.user.token: a string is needed here, and there is a number: check quotation marks and indentation"},
	{"--authorization-mode=Webhook --kubeconfig=$D/file.conf", 1, `--kubeconfig: kubeconfig $D/file.conf: user "client": tokenFile: stat $D/none: no such file or directory`},
	{"--authorization-mode=Webhook --kubeconfig=$D/cert.conf", 1, `--kubeconfig: kubeconfig $D/cert.conf: client-key-data or client-key must be specified for "client" to use the clientCert authentication method`},
	{"--authorization-mode=Webhook --kubeconfig=$D/pair.conf", 1, `--kubeconfig: kubeconfig $D/pair.conf: user "client": client-certificate and client-key: $D/a.crt and $D/b.key: tls: private key does not match public key`},
	{"--authorization-mode=Webhook --kubeconfig=$D/as.conf", 1, `--kubeconfig: kubeconfig $D/as.conf: as, as-uid, as-groups and as-user-extra of "client" are not supported: use a credential of the user who is meant`},
	{"--authorization-mode=Webhook --kubeconfig=$D/exec.conf", 1, `--kubeconfig: kubeconfig $D/exec.conf: apiVersion must be specified for "client" to use exec authentication plugin: write client.authentication.k8s.io/v1`},
}
