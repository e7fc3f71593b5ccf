package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

func TestCheckGolden(t *testing.T) {
	w := newTown(t)
	w.api.AllowUser("jane", "get", "metrics", "stats")
	w.api.AllowUser("kube", "*", "proxy", "stats", "log", "metrics")
	_, said := w.run("check SECURE --token-file=DIR/token --apiserver-user=kube")
	golden(t, "check.txt", said)
	_, said = w.run("check SECURE --cert-file=DIR/joe.crt -o json")
	golden(t, "check.json", said)
	w.api.Inject(apiservertest.SubjectAccessReviews, apiservertest.Fault{Status: 403, Times: 1})
	w.api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Status: 403, Times: 1})
	_, said = w.run("check SECURE")
	golden(t, "check-no-role.txt", said)
}

func TestCheck(t *testing.T) {
	w := newTown(t)
	w.api.AllowUser("jane", "get", "metrics")
	w.api.AllowUser("kube", "*", "proxy", "stats", "log", "spec", "metrics")
	w.api.AllowGroup("masters", "*", "*")
	w.api.Allow(apiservertest.Rule{Name: "own", Users: []string{"jane"}, Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}})
	hour := time.Hour
	now := time.Now()
	n1, here := []string{"n1"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	w.serving("other", apiservertest.Certificate{DNSNames: []string{"n2"}})
	w.serving("name", apiservertest.Certificate{DNSNames: n1})
	w.serving("address", apiservertest.Certificate{IPs: here})
	w.serving("old", apiservertest.Certificate{DNSNames: n1, IPs: here, NotBefore: now.Add(-2 * hour), NotAfter: now.Add(-hour)})
	w.serving("early", apiservertest.Certificate{DNSNames: n1, IPs: here, NotBefore: now.Add(hour), NotAfter: now.Add(2 * hour)})
	w.serving("ending", apiservertest.Certificate{DNSNames: n1, IPs: here, NotBefore: now.Add(-20 * hour), NotAfter: now.Add(hour)})
	w.serving("long", apiservertest.Certificate{DNSNames: n1, IPs: here, NotBefore: now.Add(-10000 * hour), NotAfter: now.Add(31 * 24 * hour)})
	oldCA, err := (*apiservertest.CA)(nil).IssueCA(apiservertest.Certificate{CommonName: "old-ca", NotBefore: now.Add(-2 * hour), NotAfter: now.Add(-hour)})
	if err != nil {
		t.Fatal(err)
	}
	w.write("old-ca.crt", oldCA.PEM())
	chain, err := os.ReadFile(filepath.Join(w.dir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("chain.crt", append(chain, oldCA.PEM()...))
	w.write("both-ca.crt", append(oldCA.PEM(), w.ca.PEM()...))
	w.write("stranger", []byte("SECRET-of-a-stranger"))
	w.write("open", w.api.Kubeconfig(""))
	if err := os.Chmod(filepath.Join(w.dir, "open"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.write("insecure", []byte(strings.Replace(string(w.api.Kubeconfig("")), "certificate-authority-data: ", "insecure-skip-tls-verify: true # ", 1)))
	pair := func(name string) string {
		return "check SECURE --tls-cert-file=DIR/" + name + ".crt --tls-private-key-file=DIR/" + name + ".key"
	}
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"check SECURE", 0, "ok kubeconfig https://API|ok API server v1.37.2|ok clock within 10s|ok token reviews|ok access reviews|ok access the API server decides|ok serving certificate|ok client CA CN=client-ca is valid until|!warning|!failed|!may do"},
		{"check SECURE --authentication-token-webhook=false", 0, "!token reviews|ok access reviews"},
		{"check SECURE --authorization-mode=AlwaysAllow", 0, "ok token reviews|!access reviews|warning access everyone with a good certificate or token"},

		// What is open.
		{"check", 0, "warning access everyone on this machine|!kubeconfig|!API server v"},
		{"check --kubeconfig=DIR/kubeconfig", 0, "warning kubeconfig is not used|!API server v"},
		{"check --address=::1", 0, "warning access everyone on this machine"},
		{"check --address=0.0.0.0", 1, "failed access everyone who can connect"},
		{"check --anonymous-auth=false", 1, "failed access nobody can get in"},
		{"check SECURE --anonymous-auth", 0, "ok access"},
		{"check SECURE --client-ca-file=", 0, "ok access|warning client CA none|--client-ca-file|!nobody"},
		{"check SECURE --client-ca-file=DIR/none", 1, "!client CA none"},
		{"check --anonymous-auth=false --client-ca-file=DIR/ca.crt", 0, "warning access everyone with a good certificate"},

		// Files.
		{"check", 0, "ok serving certificate made by the server"},
		{pair("other"), 1, `failed serving certificate is for ["n2"] and [], and not for the node's name n1 or an address of the node [127.0.0.1]`},
		{pair("name"), 0, `warning serving certificate is for ["n1"] and [], and not for an address`},
		{pair("name") + " --address=192.0.2.7", 0, "[192.0.2.7]"},
		{pair("name") + " --address=0.0.0.0", 0, "![0.0.0.0]|![127.0.0.1]"},
		{pair("address"), 0, "warning serving certificate|not for the node's name n1|!or an address"},
		{pair("old"), 1, "failed serving certificate CN=n1 expired at TIME"},
		{pair("early"), 1, "failed serving certificate CN=n1 is valid only from TIME"},
		{pair("ending"), 0, "warning serving certificate CN=n1 is valid only until TIME"},
		{pair("long"), 0, "ok serving certificate CN=n1 is valid until TIME"},
		{"check SECURE --tls-cert-file=DIR/chain.crt", 1, "ok serving certificate CN=n1 is valid|failed serving certificate CN=old-ca expired at TIME"},
		{"check SECURE --tls-cert-file=DIR/none", 1, "failed serving certificate --tls-cert-file must name a file|must be there, and fit"},
		{"check SECURE --tls-cert-file=", 1, "failed serving certificate --tls-cert-file"},
		{"check SECURE --tls-private-key-file=DIR/other.key", 1, "failed serving certificate|does not match"},
		{"check SECURE --client-ca-file=DIR/none", 1, "failed configuration --client-ca-file|none|ok token reviews|ok serving certificate|ok access the API server decides|!client CA CN"},
		{"check SECURE --client-ca-file=DIR/none --token-file=DIR/token --apiserver-user=kube", 1, "failed configuration|ok caller jane|What jane may do|ok API server's user"},
		{"check SECURE --client-ca-file=DIR/token", 1, "failed configuration --client-ca-file"},
		{"check SECURE --client-ca-file=DIR/old-ca.crt", 1, "failed client CA CN=old-ca expired at TIME"},
		{"check SECURE --client-ca-file=DIR/both-ca.crt", 0, "warning client CA CN=old-ca expired at TIME|ok client CA CN=client-ca"},
		{"check SECURE --kubeconfig=DIR/none", 1, "failed kubeconfig --kubeconfig|DIR/none|ok client CA|!access reviews"},
		{"check SECURE --kubeconfig=DIR/none --user=jane --apiserver-user=kube", 1, "failed kubeconfig|!may do|!nodes/"},
		{"check SECURE --kubeconfig=DIR/token", 1, "failed kubeconfig"},
		{"check SECURE --kubeconfig=", 1, "failed kubeconfig|no API server to ask"},
		{"check SECURE --kubeconfig=DIR/insecure", 0, "warning kubeconfig \"insecure-skip-tls-verify is set|ok API server"},
		{"check SECURE --hostname-override=n\x1b1 --user=jane", 0, `n\u001b1|!` + "\x1b"},

		// Callers.
		{"check SECURE --user=jane", 0, "ok caller jane|What jane may do: get create update patch delete nodes/proxy denied denied denied denied denied nodes/stats denied|nodes/metrics allowed denied|get nodes/metrics of n1: RBAC: allowed by|!nodes/pods"},
		{"check SECURE --user=jane --feature-gates=KubeletFineGrainedAuthz=true", 0, "nodes/pods denied|nodes/healthz|nodes/configz|nodes/checkpoint|nodes/statusz"},
		{"check SECURE --user=jane --request-attributes=nonresource", 0, "/metrics allowed denied denied denied denied /pods denied|!nodes/"},
		{"check SECURE --user=any --group=masters", 0, "nodes/spec allowed allowed allowed allowed allowed"},
		{"check SECURE --token-file=DIR/token", 0, "ok caller jane|nodes/metrics allowed"},
		{"check SECURE --token-file=DIR/stranger", 1, "failed caller Unauthorized: invalid bearer token|!SECRET|!may do"},
		{"check SECURE --token-file=DIR/nowhere", 1, "failed caller --token-file must name a file"},
		{"check SECURE --cert-file=DIR/joe.crt", 0, "ok caller joe|What joe may do"},
		{"check SECURE --cert-file=DIR/other.crt --client-ca-file=DIR/old-ca.crt", 1, "failed caller Unauthorized"},
		{"check SECURE --cert-file=DIR/joe.crt --client-ca-file=", 1, "failed caller Unauthorized|client certificates are off"},
		{"check SECURE --anonymous-auth --cert-file=DIR/joe.crt --client-ca-file=", 0, "warning caller system:anonymous|client certificates are off"},
		{"check --user=jane", 0, "nodes/proxy allowed allowed allowed allowed allowed"},

		// The API server as a caller.
		{"check SECURE --apiserver-user=kube", 0, "ok API server's user * nodes/proxy of n1|* nodes/spec|* nodes/metrics|!nodes/pods"},
		{"check SECURE --apiserver-user=jane", 1, "failed API server's user * nodes/proxy|failed API server's user * nodes/metrics|server rbac"},
		{"check SECURE --apiserver-user=kube --feature-gates=KubeletFineGrainedAuthz=true", 1, "ok API server's user * nodes/metrics|failed API server's user * nodes/pods"},
		{"check SECURE --apiserver-user=any --group=masters", 0, "ok API server's user * nodes/spec"},
		{"check SECURE --apiserver-user=any --user=jane --group=masters", 1, "failed API server's user * nodes/spec|nodes/spec allowed"},
	} {
		w.want(tt.line, tt.code, tt.want)
	}
	if runtime.GOOS != "windows" {
		w.want("check SECURE --kubeconfig=DIR/open", 0, "warning file mode --kubeconfig: everyone on this machine may read or write DIR/open (-rw-r--r--)|chmod")
	}
}

// What goes wrong between here and the API server.
func TestCheckFailures(t *testing.T) {
	w := newTown(t)
	other := apiservertest.MustNewCA(t, "other-ca")
	w.write("wrong-ca", []byte(strings.Replace(string(w.api.Kubeconfig("")), "certificate-authority-data: ", "insecure-skip-tls-verify: false # ", 1)))
	w.write("unknown", w.api.Kubeconfig("SECRET-unknown"))
	forbidden := func(message string) apiservertest.Fault {
		body, _ := json.Marshal(map[string]string{"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": message})
		return apiservertest.Fault{Status: 403, Body: string(body)}
	}
	reviews := apiservertest.SubjectAccessReviews
	for _, tt := range []struct {
		message, want string
	}{
		{`subjectaccessreviews is forbidden: User "jane" cannot create resource "x"`, `kind: User name: "jane"|kind: ClusterRole name: "system:auth-delegator"`},
		{`x: User "system:serviceaccount:kube-system:agent" cannot create`, `kind: ServiceAccount name: "agent" namespace: "kube-system"`},
		{`x: User "a\"b\nc: d" cannot create`, `name: "a\"b\nc: d"`},
		{`x: User "system:anonymous" cannot create`, "has no credential|!kind:"},
		{`x: User "" cannot create`, "server rbac|!kind:"},
		{`x: User "\q" cannot create`, "server rbac|!kind:"},
		{`no`, "server rbac|!kind:"},
	} {
		w.api.Inject(reviews, forbidden(tt.message))
		w.want("check SECURE", 1, "ok token reviews|failed access reviews|"+tt.want)
	}
	w.want("check SECURE --user=jane", 1, "failed caller the API server answered 403|!may do")
	w.want("check SECURE --apiserver-user=jane", 1, "failed API server's user the API server answered 403|!* nodes/")
	w.api.Inject(reviews)
	w.want("check SECURE --kubeconfig=DIR/wrong-ca", 1, "failed API server|certificate-authority in the kubeconfig|!reviews")
	w.want("check SECURE --kubeconfig=DIR/unknown", 1, "warning API server the API server answered 401|failed token reviews|failed access reviews|has it expired|!SECRET")
	expired := other.MustIssue(t, apiservertest.Certificate{CommonName: "x"})
	w.write("expired", w.api.KubeconfigWithCertificate(expired))
	w.want("check SECURE --kubeconfig=DIR/expired", 1, "failed token reviews|has it expired")
	w.api.Stop()
	w.want("check SECURE --user=jane --apiserver-user=kube", 1, "failed API server|refused|is the API server up|ok client CA|ok serving certificate|!reviews|!may do|!* nodes/")
	w.want("check SECURE --user=jane --apiserver-user=kube -o json", 1, `"ok": false|"status": "failed"`)
}

// Nothing waits longer than whoever asks.
func TestCheckEnds(t *testing.T) {
	w := newTown(t)
	hang := make(chan struct{})
	w.api.Inject(apiservertest.SubjectAccessReviews, apiservertest.Fault{Hang: hang})
	line := strings.ReplaceAll(secureFlags, "DIR", w.dir)
	for _, args := range [][]string{{"check", "--user=jane"}, {"explain", "--user=jane", "GET", "/"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		var stdout, stderr bytes.Buffer
		args = append(args[:1:1], append(strings.Fields(line), args[1:]...)...)
		if code := run(ctx, args, &stdout, &stderr); code != 1 {
			t.Errorf("%v: exit code %d: %s%s", args[0], code, stdout.String(), stderr.String())
		}
		cancel()
	}
}

func TestCheckClock(t *testing.T) {
	w := newTown(t)
	var skew time.Duration
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header()["Date"] = nil
		if skew != 0 {
			rw.Header().Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
		}
		w.api.ServeHTTP(rw, r)
	}))
	front.StartTLS()
	defer front.Close()
	text := strings.Replace(string(w.api.Kubeconfig("")), w.api.URL, front.URL, 1)
	w.write("kubeconfig", []byte(strings.Replace(text, "certificate-authority-data: ", "insecure-skip-tls-verify: true # ", 1)))
	for _, tt := range []struct {
		skew time.Duration
		want string
	}{
		{0, "!clock"},
		{time.Hour, "warning clock this machine is |behind the API server"},
		{-time.Hour, "warning clock this machine is |ahead of the API server"},
		{time.Millisecond, "ok clock within 10s"},
	} {
		skew = tt.skew
		w.want("check SECURE", 0, tt.want)
	}
}
