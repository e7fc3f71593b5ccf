package options

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kubeletauth/kubeletapi"
)

// A drop-in that says nothing of a field gives it the default of a file, whatever
// the one before it said: what is open is closed again.
func TestDropInsThatSayNothing(t *testing.T) {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	const base = head + "authentication: {anonymous: {enabled: true}, webhook: {enabled: false, cacheTTL: 7s}, x509: {clientCAFile: /a}}\nauthorization: {mode: AlwaysAllow}\nport: 1234\nfeatureGates: {KubeletFineGrainedAuthz: true}\ntlsCipherSuites: [TLS_AES_128_GCM_SHA256]\n"
	type meaning struct {
		anonymous, webhook bool
		ttl                time.Duration
		ca, mode           string
		port               int
		fine               bool
		suites             int
	}
	same := meaning{true, false, 7 * time.Second, "/a", kubeletapi.ModeAlwaysAllow, 1234, true, 1}
	for _, tt := range []struct {
		dropIn string
		want   func(*meaning)
	}{
		{"", func(*meaning) {}},
		{"authentication: {}", func(*meaning) {}},
		{"authentication: null", func(m *meaning) { m.anonymous, m.webhook, m.ttl, m.ca = false, true, 2*time.Minute, "" }},
		{"authentication: {anonymous: null}", func(m *meaning) { m.anonymous = false }},
		{"authentication: {anonymous: {enabled: null}}", func(m *meaning) { m.anonymous = false }},
		{"authentication: {webhook: {enabled: null}}", func(m *meaning) { m.webhook = true }},
		{"authentication: {webhook: {cacheTTL: 0s}}", func(m *meaning) { m.ttl = 2 * time.Minute }},
		{"authentication: {webhook: {cacheTTL: 0m}}", func(m *meaning) { m.ttl = 2 * time.Minute }},
		{"authentication: {webhook: {cacheTTL: ''}}", func(m *meaning) { m.ttl = 2 * time.Minute }},
		{"authentication: {x509: {clientCAFile: ''}}", func(m *meaning) { m.ca = "" }},
		{"authorization: {mode: ''}", func(m *meaning) { m.mode = kubeletapi.ModeWebhook }},
		{"authorization: {mode: null}", func(m *meaning) { m.mode = kubeletapi.ModeWebhook }},
		{"authorization: null", func(m *meaning) { m.mode = kubeletapi.ModeWebhook }},
		{"port: 0", func(m *meaning) { m.port = 10250 }},
		{"port: null", func(m *meaning) { m.port = 10250 }},
		{"featureGates: null", func(m *meaning) { m.fine = false }},
		{"featureGates: {}", func(*meaning) {}},
		{"tlsCipherSuites: []", func(m *meaning) { m.suites = 0 }},
		{"tlsCipherSuites: null", func(m *meaning) { m.suites = 0 }},
	} {
		dir := t.TempDir()
		for name, content := range map[string]string{"config.yaml": base, "1.conf": head + tt.dropIn + "\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o, _, err := Parse([]string{"--config=" + filepath.Join(dir, "config.yaml"), "--config-dir=" + dir})
		want := same
		tt.want(&want)
		if got := (meaning{o.AnonymousAuth, o.AuthenticationTokenWebhook, o.AuthenticationTokenWebhookCacheTTL, o.ClientCAFile, o.AuthorizationMode, o.Port, o.FeatureGates[kubeletapi.FineGrainedGate], len(o.TLSCipherSuites)}); got != want || err != nil {
			t.Errorf("%q: %+v, %v; want %+v", tt.dropIn, got, err, want)
		}
	}
}

// Gates of a flag are laid over those of a file.
func TestGatesOfFlagsAndFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfeatureGates: {KubeletFineGrainedAuthz: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]bool{"": true, "--feature-gates=": true, "--feature-gates=KubeletFineGrainedAuthz = false": false, "--feature-gates=KubeletFineGrainedAuthz=true": true} {
		list := []string{"--config=" + file}
		if args != "" {
			list = append(list, args)
		}
		if o, _, err := Parse(list); err != nil || o.FeatureGates[kubeletapi.FineGrainedGate] != want {
			t.Errorf("%s: %v, %v", args, o.FeatureGates, err)
		}
	}
}

// What has no meaning here is named once, however many files have it.
func TestFieldsWithoutMeaning(t *testing.T) {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	dir := t.TempDir()
	for name, fields := range map[string]string{
		"config.yaml": "maxPods: 5\nfeatureGates: {A: true}\n",
		"1.conf":      "maxPods: 6\ncgroupDriver: systemd\n",
		"2.conf":      "maxPods: 7\nfeatureGates: {A: false}\nport: 1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(head+fields), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, ignored, err := Parse([]string{"--config=" + filepath.Join(dir, "config.yaml"), "--config-dir=" + dir})
	if want := []string{"cgroupDriver", "featureGates.A", "maxPods"}; err != nil || !slices.Equal(ignored, want) {
		t.Errorf("%q, %v; want %q", ignored, err, want)
	}
}
