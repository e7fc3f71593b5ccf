package options

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/internal/yaml"
)

// A file that is accepted opens nothing that it does not name, and what it means
// is shown so that it means the same once more.
func FuzzFile(f *testing.F) {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	for _, text := range []string{
		"", "authentication: {anonymous: {enabled: true}, webhook: {enabled: false, cacheTTL: 1m}}\nauthorization: {mode: AlwaysAllow}\n", "authorization: {mode: ''}\nport: 0\n",
		"authentication:\n  anonymous:\n    enabled: true\n    conditions:\n    - path: /healthz\n", "tlsCipherSuites: [TLS_AES_128_GCM_SHA256]\ntlsCurvePreferences: [29]\ntlsMinVersion: VersionTLS13\n",
		"featureGates: {KubeletFineGrainedAuthz: true, X: false}\nkubeAPIQPS: 1\nkubeAPIBurst: 0\nmaxPods: 7\n", "healthzPort: -1\naddress: '::'\nenableProfilingHandler: true\n", "authentication: null\n",
	} {
		f.Add(head + text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		content, err := yaml.ToJSON([]byte(text))
		if err != nil {
			return
		}
		o := fileDefaults()
		_, err = o.decode(content)
		if err == nil {
			err = o.check()
		}
		if err != nil {
			if len(err.Error()) > 2*len(text)+4<<10 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if o.AnonymousAuth && !strings.Contains(string(content), `"anonymous"`) || o.AuthorizationMode != kubeletapi.ModeWebhook && !strings.Contains(string(content), `"mode"`) || o.Profiling && !strings.Contains(string(content), "rofiling") {
			t.Fatalf("%q opens %+v", content, o)
		}
		shown := o.settings().Encode()
		fields := maps.Clone(shown)
		fields["apiVersion"], fields["kind"] = "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"
		written, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		again := fileDefaults()
		if _, err := again.decode(written); err != nil || !reflect.DeepEqual(again.settings().Encode(), shown) {
			t.Fatalf("%s means %v, %v", written, again.settings().Encode(), err)
		}
	})
}
