package oracle

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/util/codec"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/options"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestKubeletConfiguration compares what a configuration file means: each of the fields that we have, given or not, in
// any form. Both accept the same files, which mean the same to both, but for the reasons that whyOnlyKubelet and whyOnlyWe know.
func TestKubeletConfiguration(t *testing.T) {
	s := generate.New(t)
	_, codecs, err := scheme.NewSchemeAndCodecs(serializer.EnableStrict)
	if err != nil {
		t.Fatal(err)
	}
	klog.SetOutput(io.Discard) // it tells of each unknown field
	klog.LogToStderr(false)
	file := filepath.Join(t.TempDir(), "config.yaml")
	both := 0
	run(t, 10_000, func() string {
		text := anyConfiguration(s)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err.Error()
		}
		kubelet, kubeletErr := codec.DecodeKubeletConfiguration(context.Background(), codecs, text)
		cfg, _, ourErr := options.Parse([]string{"--config=" + file})
		switch {
		case kubeletErr != nil && ourErr != nil:
			return ""
		case kubeletErr != nil:
			if whyOnlyWe(text) != "" {
				return ""
			}
			return fmt.Sprintf("only we accept %s: %v", text, kubeletErr)
		case ourErr != nil:
			if whyOnlyKubelet(kubelet, text) == "" {
				return fmt.Sprintf("only the kubelet accepts %s: %v", text, ourErr)
			}
			return ""
		}
		both++
		if diff := cmp.Diff(kubeletMeaning(kubelet, filepath.Dir(file)), ourMeaning(cfg.Config)); diff != "" {
			return fmt.Sprintf("%s: %s", text, diff)
		}
		return ""
	})
	t.Logf("both sides accept %d of them", both)
}

// meaning is what a file means in the fields that we have.
type meaning struct {
	Anonymous, Webhook, FineGrained     bool
	ClientCA, Mode, Address             string
	Token, Authorized, Unauthorized     time.Duration
	Port                                int
	Certificate, Key, Ciphers, TLS, ECC string
}

// ourMeaning is that of our configuration.
func ourMeaning(cfg kubeletapi.Config) meaning {
	return meaning{
		Anonymous: cfg.AnonymousAuth, Webhook: cfg.AuthenticationTokenWebhook, FineGrained: cfg.FeatureGates["KubeletFineGrainedAuthz"],
		ClientCA: cfg.ClientCAFile, Mode: cfg.AuthorizationMode, Address: cfg.Address,
		Token: cfg.AuthenticationTokenWebhookCacheTTL, Authorized: cfg.AuthorizationWebhookCacheAuthorizedTTL,
		Unauthorized: cfg.AuthorizationWebhookCacheUnauthorizedTTL, Port: cfg.Port, Certificate: cfg.TLSCertFile, Key: cfg.TLSPrivateKeyFile,
		Ciphers: fmt.Sprint(cfg.TLSCipherSuites), TLS: tlsVersion(cfg.TLSMinVersion), ECC: fmt.Sprint(cfg.TLSCurvePreferences),
	}
}

// kubeletMeaning is that of the kubelet's. Its loader makes paths absolute, so that is done here.
func kubeletMeaning(c *config.KubeletConfiguration, folder string) meaning {
	address := c.Address
	if address == "0.0.0.0" { // README: "--address default | 0.0.0.0 | 127.0.0.1"; no case sets 0.0.0.0
		address = "127.0.0.1"
	}
	absolute := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(folder, path)
	}
	return meaning{
		Anonymous: c.Authentication.Anonymous.Enabled, Webhook: c.Authentication.Webhook.Enabled,
		FineGrained: c.FeatureGates["KubeletFineGrainedAuthz"],
		ClientCA:    absolute(c.Authentication.X509.ClientCAFile), Mode: string(c.Authorization.Mode), Address: address,
		Token: c.Authentication.Webhook.CacheTTL.Duration, Authorized: c.Authorization.Webhook.CacheAuthorizedTTL.Duration,
		Unauthorized: c.Authorization.Webhook.CacheUnauthorizedTTL.Duration, Port: int(c.Port),
		Certificate: absolute(c.TLSCertFile), Key: absolute(c.TLSPrivateKeyFile),
		Ciphers: fmt.Sprint(c.TLSCipherSuites), TLS: tlsVersion(c.TLSMinVersion), ECC: fmt.Sprint(c.TLSCurvePreferences),
	}
}

// tlsVersion is a version, of which none is 1.2.
func tlsVersion(version string) string {
	if version == "" {
		return "VersionTLS12"
	}
	return version
}
