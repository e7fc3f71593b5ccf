package oracle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	v1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"
	conv "k8s.io/kubernetes/pkg/kubelet/apis/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/util/codec"

	"kubeletauth/kubeletapi/options"
)

// What a drop-in says of a field that the file before has set, and be it nothing,
// means what the kubelet takes it for (mergeKubeletConfigurations of
// cmd/kubelet/app/server.go).
func TestDropIns(t *testing.T) {
	_, codecs, err := scheme.NewSchemeAndCodecs(serializer.EnableStrict)
	if err != nil {
		t.Fatal(err)
	}
	head := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	base := head + "authentication: {anonymous: {enabled: true}, webhook: {enabled: false, cacheTTL: 7s}, x509: {clientCAFile: /a}}\nauthorization: {mode: AlwaysAllow, webhook: {cacheAuthorizedTTL: 9s}}\nport: 1234\naddress: 127.0.0.9\ntlsCipherSuites: [TLS_AES_128_GCM_SHA256]\ntlsMinVersion: VersionTLS13\nfeatureGates: {KubeletFineGrainedAuthz: true}\ntlsCurvePreferences: [29]\ntlsCertFile: /c\n"
	for _, drop := range []string{
		"authentication: null", "authentication: {anonymous: {enabled: null}}", "authentication: {anonymous: null}", "authentication: {webhook: {enabled: null}}", "authentication: {webhook: {cacheTTL: 0s}}", "authentication: {webhook: {cacheTTL: null}}", "authentication: {webhook: {cacheTTL: '0'}}",
		"authorization: {mode: ''}", "authorization: {mode: null}", "authorization: null", "authorization: {webhook: {cacheAuthorizedTTL: 0s}}", "port: 0", "port: null", "address: ''", "address: null", "tlsCipherSuites: []", "tlsCipherSuites: null", "tlsMinVersion: ''", "tlsMinVersion: null", "featureGates: {}", "featureGates: null",
		"featureGates: {KubeletFineGrainedAuthz: null}", "authentication: {x509: {clientCAFile: ''}}", "authentication: {x509: {clientCAFile: null}}", "authentication: {x509: null}", "tlsCurvePreferences: []", "tlsCertFile: ''", "{}", "authentication: {}",
	} {
		k, err := codec.DecodeKubeletConfiguration(t.Context(), codecs, []byte(base))
		if err != nil {
			t.Fatal(err)
		}
		v := &v1beta1.KubeletConfiguration{}
		if err := conv.Convert_config_KubeletConfiguration_To_v1beta1_KubeletConfiguration(k, v, nil); err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(v)
		text := head + drop + "\n"
		if drop == "{}" {
			text = head
		}
		d, _, err := codec.DecodeKubeletConfigurationIntoJSON(codecs, []byte(text))
		if err != nil {
			t.Fatal(drop, err)
		}
		m, err := jsonpatch.MergePatch(b, d)
		if err != nil {
			t.Fatal(err)
		}
		v = &v1beta1.KubeletConfiguration{}
		json.Unmarshal(m, v)
		conv.SetDefaults_KubeletConfiguration(v)
		k = &config.KubeletConfiguration{}
		conv.Convert_v1beta1_KubeletConfiguration_To_config_KubeletConfiguration(v, k, nil)
		dir := t.TempDir()
		os.Mkdir(filepath.Join(dir, "d"), 0o700)
		os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(base), 0o600)
		os.WriteFile(filepath.Join(dir, "d", "1.conf"), []byte(text), 0o600)
		o, _, err := options.Parse([]string{"--config=" + filepath.Join(dir, "c.yaml"), "--config-dir=" + filepath.Join(dir, "d")})
		km, om := fmt.Sprintf("%+v", kubeletMeaning(k, dir)), fmt.Sprintf("%+v", ourMeaning(o.Config))
		if km != om || err != nil {
			t.Errorf("%s\n  kubelet %s\n  here    %s %v", drop, km, om, err)
		}
	}
}
