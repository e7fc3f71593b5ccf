package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"debug/elf"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/options"
)

func deployed(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The files run the server with flags that it has, and that let nobody in who
// should not be.
func TestDeployedFlags(t *testing.T) {
	_, args, _ := strings.Cut(deployed(t, "daemonset.yaml"), "\n        args:\n")
	args, _, _ = strings.Cut(args, "\n        env:\n")
	_, line, _ := strings.Cut(strings.ReplaceAll(deployed(t, "kubeletauth.service"), "\\\n", " "), "\nExecStart=/usr/local/bin/kubeletauth ")
	line, _, _ = strings.Cut(line, "\n")
	for file, flags := range map[string][]string{
		"daemonset.yaml":      regexp.MustCompile(`--\S+`).FindAllString(args, -1),
		"kubeletauth.service": strings.Fields(line),
	} {
		for i := range flags {
			flags[i] = strings.NewReplacer("$(HOST_IP)", "192.0.2.1", "$(NODE_NAME)", "node-1", "%d/", "/run/credentials/").Replace(flags[i])
		}
		o, _, err := options.Parse(flags)
		if err != nil || len(flags) < 10 {
			t.Errorf("%s: %v, %q", file, err, flags)
		}
		if o.AnonymousAuth || o.AuthorizationMode != kubeletapi.ModeWebhook || !o.AuthenticationTokenWebhook || o.ClientCAFile == "" ||
			o.TLSCertFile == "" || o.Port == 10250 || o.HealthzPort == 10248 || o.SystemLogDir != "" || o.Profiling || strings.ContainsAny(strings.Join(flags, ""), "$%") {
			t.Errorf("%s: %+v", file, o.Config)
		}
	}
}

// The YAML is within the subset that the server itself reads: what it has to say
// of each document is only that it is no configuration of a kubelet.
func TestDeployedYAML(t *testing.T) {
	documents := map[string]int{"daemonset.yaml": 5, "prometheus.yaml": 1, "alerts.yaml": 1, "../../../.github/workflows/ci.yml": 1}
	for name, want := range documents {
		parts := strings.Split(deployed(t, name), "\n---\n")
		if len(parts) != want {
			t.Errorf("%s has %d documents, want %d", name, len(parts), want)
		}
		for i, document := range parts {
			file := filepath.Join(t.TempDir(), "document.yaml")
			if err := os.WriteFile(file, []byte(document+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := options.Parse([]string{"--config=" + file}); err == nil || !strings.Contains(err.Error(), "want kubelet.config.k8s.io/v1beta1") {
				t.Errorf("%s, document %d: %v", name, i+1, err)
			}
		}
	}
}

// What one file says of another is so.
func TestDeployedTogether(t *testing.T) {
	daemonSet, prometheus := deployed(t, "daemonset.yaml"), deployed(t, "prometheus.yaml")
	if roles := rbacOutput(t, "--apiserver-user="); !strings.Contains(daemonSet, roles+"---\n") {
		t.Errorf("daemonset.yaml lacks:\n%s", roles)
	}
	name := regexp.MustCompile(`server_name: (\S+)`).FindStringSubmatch(prometheus)[1]
	for file, parts := range map[string][]string{
		daemonSet: {"subjectAltName=DNS:" + name + " ", "app.kubernetes.io/name: kubeletauth\n", "\n        - name: https\n", "runAsUser: 65532"},
		prometheus: {"label: app.kubernetes.io/name=kubeletauth\n", "regex: https\n", "job_name: kubeletauth\n",
			"metrics_path: /metrics/kubeletauth\n", "names: [kube-system]", "\n- alerts.yaml\n"},
		deployed(t, "Dockerfile"): {"USER 65532:65532"},
	} {
		for _, part := range parts {
			if !strings.Contains(file, part) {
				t.Errorf("%q is not in\n%s", part, file)
			}
		}
	}
}

// The command in daemonset.yaml makes a certificate that Prometheus accepts.
func TestDeployedCertificate(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl here")
	}
	command := regexp.MustCompile(`(?m)^# +openssl (.*)$`).FindStringSubmatch(deployed(t, "daemonset.yaml"))
	openssl := exec.Command("openssl", strings.Fields(command[1])...)
	openssl.Dir = t.TempDir()
	if out, err := openssl.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(openssl.Dir, "tls.crt"), filepath.Join(openssl.Dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.Leaf.VerifyHostname("kubeletauth.kube-system.svc"); err != nil || time.Until(cert.Leaf.NotAfter) < 300*24*time.Hour {
		t.Error(err, cert.Leaf.NotAfter)
	}
}

// The alerts are over metrics, labels and values that there are.
func TestDeployedAlerts(t *testing.T) {
	text, shown := deployed(t, "alerts.yaml"), everyMetric(t)
	_, exprs, _ := strings.Cut(text, "rules:")
	exprs = regexp.MustCompile(`(?m)^      (summary|description|severity): .*$`).ReplaceAllString(exprs, "")
	found := regexp.MustCompile(`(\w+)\{(.*?)\}`).FindAllStringSubmatch(exprs, -1)
	if len(found) < 12 {
		t.Fatalf("%d metrics: %q", len(found), found)
	}
	for _, m := range found {
		name, matchers := m[1], m[2]
		if name == "up" {
			continue
		}
		series := regexp.MustCompile(`(?m)^`+name+`\{.*$|^`+name+` .*$`).FindAllString(shown, -1)
		if len(series) == 0 {
			t.Errorf("there is no metric %s", name)
		}
		for _, matcher := range regexp.MustCompile(`(\w+)(=~|!~|=)"(.*?)"`).FindAllStringSubmatch(matchers, -1) {
			label, operator, value := matcher[1], matcher[2], matcher[3]
			pattern := label + `="`
			if operator == "=" {
				pattern += value + `"`
			}
			if label != "job" && !slices.ContainsFunc(series, func(s string) bool { return strings.Contains(s, pattern) }) {
				t.Errorf("no %s has %s", name, pattern)
			}
		}
		if !strings.Contains(matchers, `job="kubeletauth"`) {
			t.Errorf("%s is that of any job", name)
		}
	}
	labels := regexp.MustCompile(`\$labels\.(\w+) `).FindAllStringSubmatch(text, -1)
	for by := range strings.SplitSeq(text, "by (") {
		list, _, _ := strings.Cut(by, ")")
		for label := range strings.SplitSeq(list, ", ") {
			if !strings.Contains(list, "\n") {
				labels = append(labels, []string{by, label})
			}
		}
	}
	for _, m := range labels {
		if label := m[1]; label != "node" && label != "instance" && !strings.Contains(shown, label+`="`) {
			t.Errorf("nothing has the label %s", label)
		}
	}
	if len(labels) < 40 {
		t.Errorf("only %d labels: %q", len(labels), labels)
	}
}

// everyMetric is what a server shows after everything has happened that alerts
// are about.
func everyMetric(t *testing.T) string {
	t.Helper()
	api := apiservertest.MustStart(t, apiservertest.Config{})
	ca := apiservertest.MustNewCA(t, "ca")
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := kubeletapi.Config{
		ClientCAFile: write("ca.crt", ca.PEM()), Kubeconfig: write("kubeconfig", api.Kubeconfig("")),
		AuthenticationTokenWebhook: true, AuthorizationMode: kubeletapi.ModeWebhook, HostnameOverride: "node-1", Logger: slog.New(slog.DiscardHandler),
	}
	auth, err := kubeletapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := (&kubeletapi.Server{Config: cfg, Auth: auth}).Serve(ended, listener); err != nil {
		t.Fatal(err)
	}
	api.SetToken("good", authn.UserInfo{Username: "jane"})
	api.SetDecide(func(authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus {
		return authz.SubjectAccessReviewStatus{Allowed: true}
	})
	cert := ca.MustIssue(t, apiservertest.Certificate{CommonName: "john"})
	for _, token := range []string{"good", "bad", ""} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		} else {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}}
		}
		auth.Check(r)
	}
	write("ca.crt", []byte("no certificate"))
	for end := time.Now().Add(30 * time.Second); auth.CheckClientCA(t.Context()) == nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	var shown bytes.Buffer
	if err := auth.WriteMetrics(&shown); err != nil {
		t.Fatal(err)
	}
	return shown.String()
}

// The Dockerfile's copies are all that the build needs, without a network, and
// what it builds needs nothing at all.
func TestDockerfile(t *testing.T) {
	text := deployed(t, "Dockerfile")
	goMod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(goMod)[1]
	if !regexp.MustCompile(`(?m)^FROM --platform=\$BUILDPLATFORM golang:` + regexp.QuoteMeta(string(want)) + `\.\d+-\w+ AS build$`).MatchString(text) {
		t.Errorf("the base image is no exact version of Go %s", want)
	}
	if !strings.Contains(text, "\nENV CGO_ENABLED=0 ") || strings.Count(text, "FROM ") != 2 || !strings.Contains(text, "\nFROM scratch\n") {
		t.Error("the image is not from scratch, or the program not static")
	}
	f, err := elf.Open(buildAsImage(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Error("the program needs a loader")
	}
}

// buildAsImage returns the path of the program that the Dockerfile builds, of the
// files that it copies.
func buildAsImage(t *testing.T) string {
	t.Helper()
	text, source := deployed(t, "Dockerfile"), t.TempDir()
	for _, line := range regexp.MustCompile(`(?m)^COPY ([^-].*)$`).FindAllStringSubmatch(text, -1) {
		names := strings.Fields(line[1])
		for _, name := range names[:len(names)-1] {
			to := filepath.Join(source, name)
			if info, err := os.Stat(filepath.Join("../..", name)); err == nil && info.IsDir() {
				err = os.CopyFS(to, os.DirFS(filepath.Join("../..", name)))
				if err != nil {
					t.Fatal(err)
				}
			} else if content, err := os.ReadFile(filepath.Join("../..", name)); err != nil || os.WriteFile(to, content, 0o600) != nil {
				t.Fatal(err)
			}
		}
	}
	line := regexp.MustCompile(`(?m)^RUN GOOS=\$TARGETOS GOARCH=\$TARGETARCH go (build .*) -o /kubeletauth (.*)$`).FindStringSubmatch(text)
	if line == nil {
		t.Fatal("the Dockerfile has no line that builds")
	}
	binary := filepath.Join(t.TempDir(), "kubeletauth")
	build := exec.Command("go", append(strings.Fields(line[1]), "-o", binary, line[2])...)
	build.Dir = source
	set := regexp.MustCompile(`(?m)^ENV (.*)$`).FindStringSubmatch(text)
	build.Env = append(append(os.Environ(), strings.Fields(set[1])...), "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOPROXY=off", "GOFLAGS=-modcacherw", "GOMODCACHE="+t.TempDir())
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// The workflow runs what has to pass, with actions that nobody can replace.
func TestWorkflow(t *testing.T) {
	text := deployed(t, "../../../.github/workflows/ci.yml")
	for _, part := range []string{" .ci/run\n", "go-version-file: go.mod\n", "contents: read\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("the workflow lacks %q", part)
		}
	}
	pinned := regexp.MustCompile(`uses: [-\w]+/[-\w]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n`).FindAllString(text, -1)
	if len(pinned) == 0 || len(pinned) != strings.Count(text, "uses:") {
		t.Errorf("pinned are only %q", pinned)
	}
}
