package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

const deployFolder = "../../cmd/server/deploy"

// TestDeployDaemonSet shows that the API server takes all of daemonset.yaml, without a warning.
func TestDeployDaemonSet(t *testing.T) {
	c := theCluster(t)
	got := c.AdminKubectl(t, "apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", filepath.Join(deployFolder, "daemonset.yaml"))
	for _, object := range []string{
		"serviceaccount/kubeletauth created", "clusterrolebinding.rbac.authorization.k8s.io/kubeletauth:auth-delegator:system:serviceaccount:kube-system:kubeletauth created",
		"clusterrole.rbac.authorization.k8s.io/kubeletauth:scraper:system:serviceaccount:monitoring:prometheus created", "daemonset.apps/kubeletauth created",
	} {
		if !strings.Contains(got, object) {
			t.Errorf("kubectl does not say %q:\n%s", object, got)
		}
	}
}

// TestDeployRoles applies what server rbac prints: a server that may do no more than that works, and so do its callers.
func TestDeployRoles(t *testing.T) {
	c := theCluster(t)
	server, scraper := c.CreateServiceAccount(t, "deployed-server"), c.CreateServiceAccount(t, "deployed-scraper")
	forwarder := harness.User("deployed-api-server")
	out, err := exec.Command(ours.Program(t, c), "rbac", "--name=e2e-deployed", "--fine-grained", "--apiserver-user="+forwarder.Name,
		"--service-account="+server.Name, "--namespace="+harness.Namespace,
		"--scraper-service-account="+scraper.Name, "--scraper-namespace="+harness.Namespace, "--scraper-subresources=metrics,pods").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := deployWrite(t, t.TempDir(), "roles.yaml", string(out))
	c.AdminKubectl(t, "apply", "--validate=strict", "--warnings-as-errors", "-f", file)
	defer c.AdminKubectl(t, "delete", "-f", file)

	c.AwaitAccess(t, server.Subject(), deployRule("create", "authentication.k8s.io", "tokenreviews"), true)
	c.AwaitAccess(t, server.Subject(), deployRule("create", "authorization.k8s.io", "subjectaccessreviews"), true)
	c.AwaitAccess(t, server.Subject(), harness.Nodes("get", "metrics"), false)
	all := []string{"proxy", "stats", "log", "spec", "metrics", "checkpoint", "statusz", "configz", "healthz", "pods"}
	for _, verb := range []string{"*", "get", "create", "delete"} {
		c.AwaitAccess(t, forwarder, harness.Nodes(verb, all...), true)
	}
	c.AwaitAccess(t, forwarder, deployRule("get", "", "nodes"), false)
	c.AwaitAccess(t, scraper.Subject(), harness.Nodes("get", "metrics", "pods"), true)
	c.AwaitAccess(t, scraper.Subject(), harness.Nodes("get", "proxy", "stats", "log", "configz"), false)
	c.AwaitAccess(t, scraper.Subject(), harness.Nodes("create", "metrics"), false)

	s := ours.Start(t, c, ours.Options{}, "--anonymous-auth=false", "--client-ca-file="+c.CAFile, "--authentication-token-webhook",
		"--authorization-mode=Webhook", "--feature-gates=KubeletFineGrainedAuthz=true", "--healthz-port=0",
		"--kubeconfig="+c.Kubeconfig(t, "deployed", harness.Credentials{Token: c.RequestToken(t, server, 0)}))
	token := c.RequestToken(t, scraper, 0)
	for path, want := range map[string]int{"/metrics": 200, "/metrics/kubeletauth": 200, "/pods": 200, "/stats/summary": 403, "/healthz": 403, "/spec/": 403} {
		if got := harness.Get(t, c.HTTPClient(t, nil), s.URL+path, token); got.Status != want {
			t.Errorf("the scraper gets %d of %s, want %d: %s", got.Status, path, want, got.Body)
		}
		if got := harness.Get(t, c.HTTPClient(t, c.ClientCertificate(t, forwarder.Name)), s.URL+path, ""); got.Status != http.StatusOK {
			t.Errorf("the API server gets %d of %s: %s", got.Status, path, got.Body)
		}
	}
}

// deployRule is the rule that allows a verb on a resource.
func deployRule(verb, group, resource string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
}

// TestDeployUnit shows that systemd takes the unit, and how little the service can do.
func TestDeployUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze on this machine")
	}
	program := ours.Program(t, theCluster(t))
	unit := deployWrite(t, t.TempDir(), "kubeletauth.service", strings.ReplaceAll(deployRead(t, "kubeletauth.service"), "/usr/local/bin/kubeletauth", program))
	if out := deployRun(t, "systemd-analyze", "verify", "--man=no", unit); strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
	deployRun(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", unit) // 2.0 of 10
}

// TestDeployPrometheus shows that Prometheus takes the configuration and the rules, and that each alert fires when, and
// only when, it should.
func TestDeployPrometheus(t *testing.T) {
	_, promtool := promPrograms(t)
	dir := t.TempDir()
	deployWrite(t, dir, "alerts.yaml", deployRead(t, "alerts.yaml"))
	config := strings.NewReplacer("/var/run/secrets/kubernetes.io/serviceaccount/token", deployWrite(t, dir, "token", "x"), "/etc/prometheus/kubeletauth/tls.crt", theCluster(t).CAFile).Replace(deployRead(t, "prometheus.yaml"))
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "config", deployWrite(t, dir, "prometheus.yaml", config)).CombinedOutput(); strings.Contains(string(out), "kubernetes_sd_configs not found") {
		t.Log("this Prometheus is built without the discovery of pods, as Debian's is: the rest of the configuration is checked")
		before, discovery, _ := strings.Cut(config, "  kubernetes_sd_configs:\n")
		_, after, _ := strings.Cut(discovery, "  relabel_configs:\n")
		deployWrite(t, dir, "prometheus.yaml", before+"  relabel_configs:\n"+after)
	} else if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	deployRun(t, promtool, "check", "config", "--lint=all", "--lint-fatal", filepath.Join(dir, "prometheus.yaml"))
	deployRun(t, promtool, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(dir, "alerts.yaml"))
	deployWrite(t, dir, "tested.yaml", regexp.MustCompile(`(?m)^ +(annotations:|summary: .*|description: .*)\n`).ReplaceAllString(deployRead(t, "alerts.yaml"), ""))
	deployRun(t, promtool, "test", "rules", deployWrite(t, dir, "test.yaml", deployAlertTests(t)))
}

// deployAlertTests is the input of promtool test rules: for each alert what makes it fire, and that in a day when all is
// well none does.
func deployAlertTests(t *testing.T) string {
	t.Helper()
	const labels = `job="kubeletauth", node="a", instance="a:10350"`
	var text strings.Builder
	text.WriteString("rule_files: [tested.yaml]\nevaluation_interval: 1m\ntests:\n")
	one := func(series map[string]string, at string, alerts map[string]string) {
		text.WriteString("- interval: 1m\n  input_series:\n")
		for name, values := range series {
			text.WriteString("  - {series: '" + strings.ReplaceAll(name, "LABELS", labels) + "', values: '" + values + "'}\n")
		}
		text.WriteString("  alert_rule_test:\n")
		for alert, labels := range alerts {
			text.WriteString("  - {eval_time: " + at + ", alertname: " + alert + ", exp_alerts: [" + labels + "]}\n")
		}
	}
	const critical, warning = "{exp_labels: {severity: critical, node: a, instance: 'a:10350'}}", "{exp_labels: {severity: warning, node: a, instance: 'a:10350'}}"
	const warningFile = "{exp_labels: {severity: warning, job: kubeletauth, node: a, instance: 'a:10350', file: client-ca-file, status: error}}"
	one(map[string]string{`up{LABELS}`: "0x20"}, "10m", map[string]string{"KubeletauthDown": "{exp_labels: {severity: critical, job: kubeletauth, node: a, instance: 'a:10350'}}"})
	for _, review := range []string{"authn", "authz"} {
		name := "apiserver_delegated_" + review + "_request_"
		one(map[string]string{name + `total{LABELS, code="201"}`: "0+60x60", name + `total{LABELS, code="403"}`: "0+1x60"}, "30m", map[string]string{"KubeletauthMayNotReview": critical, "KubeletauthReviewsFail": ""})
		one(map[string]string{name + `total{LABELS, code="201"}`: "0+60x60", name + `total{LABELS, code="<error>"}`: "0+5x60"}, "30m", map[string]string{"KubeletauthMayNotReview": "", "KubeletauthReviewsFail": warning})
		one(map[string]string{name + `total{LABELS, code="201"}`: "0+60x60", name + `total{LABELS, code="503"}`: "0+1x60"}, "30m", map[string]string{"KubeletauthReviewsFail": ""})
		slow, fast := map[string]string{}, map[string]string{}
		for _, le := range []string{"0.5", "1", "3", "+Inf"} {
			bucket := name + `duration_seconds_bucket{LABELS, code="201", le="` + le + `"}`
			slow[bucket], fast[bucket] = "0+60x60", "0+60x60"
			if le == "0.5" || le == "1" {
				slow[bucket] = "0+50x60"
			}
		}
		one(slow, "40m", map[string]string{"KubeletauthReviewsSlow": warning})
		one(fast, "40m", map[string]string{"KubeletauthReviewsSlow": ""})
	}
	one(map[string]string{`authentication_token_cache_fetch_total{LABELS, status="error"}`: "0+90x60"}, "40m", map[string]string{"KubeletauthTokensRefused": warning})
	one(map[string]string{`authentication_token_cache_fetch_total{LABELS, status="error"}`: "0+30x60"}, "40m", map[string]string{"KubeletauthTokensRefused": ""})
	reload := `kubeletauth_reload_total{LABELS, file="client-ca-file", status="error"}`
	one(map[string]string{reload: "0x30 1x90"}, "35m", map[string]string{"KubeletauthReloadFailed": warningFile})   // the first error
	one(map[string]string{reload: "0x30 1x120"}, "2h", map[string]string{"KubeletauthReloadFailed": ""})            // long ago
	one(map[string]string{reload: "1x100 2x60"}, "110m", map[string]string{"KubeletauthReloadFailed": warningFile}) // another one
	one(map[string]string{reload: "_x30 0x60"}, "35m", map[string]string{"KubeletauthReloadFailed": ""})            // a server has begun
	turned := `kubeletauth_review_queue_refused_total{LABELS, queue="strangers"}`
	one(map[string]string{turned: "0+1x60"}, "30m", map[string]string{"KubeletauthTurnedAway": "{exp_labels: {severity: warning, node: a, instance: 'a:10350', queue: strangers}}"})
	one(map[string]string{turned: "0x20 9x60"}, "40m", map[string]string{"KubeletauthTurnedAway": ""})
	stale := `kubeletauth_stale_answers_total{LABELS, resource="tokenreviews"}`
	one(map[string]string{stale: "0+1x60"}, "30m", map[string]string{"KubeletauthStaleAnswers": "{exp_labels: {severity: warning, node: a, instance: 'a:10350', resource: tokenreviews}}"})
	one(map[string]string{stale: "0x10 9x60"}, "40m", map[string]string{"KubeletauthStaleAnswers": ""})
	one(map[string]string{`kubeletauth_decision_log_dropped_total{LABELS}`: "0x10 1x60"}, "15m", map[string]string{"KubeletauthDecisionLogDrops": "{exp_labels: {severity: warning, job: kubeletauth, node: a, instance: 'a:10350'}}"})
	one(map[string]string{`kubeletauth_decision_log_dropped_total{LABELS}`: "0x10 1x60"}, "30m", map[string]string{"KubeletauthDecisionLogDrops": ""})
	for days, want := range map[int]string{6: "{exp_labels: {severity: warning, job: kubeletauth, node: a, instance: 'a:10350', certificate: serving}}", 8: ""} { // tests begin in 1970
		one(map[string]string{`kubeletauth_certificate_expiration_timestamp_seconds{LABELS, certificate="serving"}`: fmt.Sprint(days*24*3600, "x60")}, "10m", map[string]string{"KubeletauthCertificateExpires": want})
	}
	for le, want := range map[string]string{"604800": warning, "2592000": ""} {
		buckets := map[string]string{}
		for _, bound := range []string{"345600", "604800", "2592000", "+Inf"} {
			buckets[`apiserver_client_certificate_expiration_seconds_bucket{LABELS, le="`+bound+`"}`] = "0x10 0x60"
			if bound == le || bound == "+Inf" || bound == "2592000" {
				buckets[`apiserver_client_certificate_expiration_seconds_bucket{LABELS, le="`+bound+`"}`] = "0x10 1x60"
			}
		}
		one(buckets, "60m", map[string]string{"KubeletauthClientCertificateExpires": want})
	}
	quiet := map[string]string{`up{LABELS}`: "1x1440"}
	for _, name := range []string{"apiserver_delegated_authn_request_total", "apiserver_delegated_authz_request_total"} {
		quiet[name+`{LABELS, code="201"}`] = "0+1x1440"
	}
	quiet[`kubeletauth_reload_total{LABELS, file="client-ca-file", status="ok"}`] = "0x700 1x740"
	for _, name := range []string{`reload_total{LABELS, file="client-ca-file", status="error"}`, `review_queue_refused_total{LABELS, queue="strangers"}`, `stale_answers_total{LABELS, resource="tokenreviews"}`, `decision_log_dropped_total{LABELS}`} {
		quiet["kubeletauth_"+name] = "0x1440"
	}
	quiet[`kubeletauth_certificate_expiration_timestamp_seconds{LABELS, certificate="serving"}`] = "31536000x1440"
	one(quiet, "20h", map[string]string{"KubeletauthDown": "", "KubeletauthMayNotReview": "", "KubeletauthReviewsFail": "", "KubeletauthReviewsSlow": "",
		"KubeletauthTokensRefused": "", "KubeletauthTurnedAway": "", "KubeletauthStaleAnswers": "", "KubeletauthDecisionLogDrops": "",
		"KubeletauthReloadFailed": "", "KubeletauthCertificateExpires": "", "KubeletauthClientCertificateExpires": ""})
	for line := range strings.Lines(deployRead(t, "alerts.yaml")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "- alert: "); ok && strings.Count(text.String(), "alertname: "+name+",") < 2 {
			t.Errorf("%s is not tried", name)
		}
	}
	return text.String()
}

func deployRead(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deployFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// deployWrite returns the path of the new file.
func deployWrite(t *testing.T, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	promWrite(t, file, []byte(content))
	return file
}

// deployRun returns what a program prints, which must end well.
func deployRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
