package oracle

import (
	"bytes"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"sigs.k8s.io/yaml"

	"kubeletauth/testdata/e2e/internal/generate"
)

// whyOnlyKubelet says why we do not accept what the kubelet decodes, or nothing: because it does not start with it
// either, or by a row of the README.
func whyOnlyKubelet(c *config.KubeletConfiguration, text []byte) string {
	switch {
	case bytes.Contains(text, []byte("unknownField")):
		return "README: unknown or duplicate field in the configuration file"
	case c.Port < 1 || c.Port > 65535:
		return "validation: port"
	case c.Authorization.Mode != "Webhook" && c.Authorization.Mode != "AlwaysAllow":
		return "the kubelet does not start: mode"
	case net.ParseIP(c.Address) == nil:
		return "the kubelet does not start: address"
	case c.TLSMinVersion != "" && !strings.HasPrefix(c.TLSMinVersion, "VersionTLS1") || slices.Contains(c.TLSCipherSuites, "TLS_NONE") || slices.Contains(c.TLSCurvePreferences, 99999):
		return "the kubelet does not start: TLS"
	}
	for _, ttl := range []int64{
		int64(c.Authentication.Webhook.CacheTTL.Duration), int64(c.Authorization.Webhook.CacheAuthorizedTTL.Duration),
		int64(c.Authorization.Webhook.CacheUnauthorizedTTL.Duration),
	} {
		if ttl < 0 {
			return "a time in the configuration file that is negative"
		}
	}
	return ""
}

// emptyTime is a time that is there and says nothing.
var emptyTime = regexp.MustCompile(`(?i)"?cache(Un)?(authorized)?TTL"?: ?(null|"")`)

// whyOnlyWe says why the kubelet does not decode what we accept, or nothing.
func whyOnlyWe(text []byte) string {
	if emptyTime.Match(text) {
		return "a time in the configuration file that is null or empty"
	}
	return ""
}

// anyConfiguration is a file in YAML or JSON.
func anyConfiguration(s *generate.Source) []byte {
	object := map[string]any{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
	fields := configurationFields()
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		if s.Chance(3) {
			put(object, strings.Split(path, "."), anyValue(s, fields[path]))
		}
	}
	others := otherFields()
	for _, path := range slices.Sorted(maps.Keys(others)) {
		if s.Chance(3) { // of these, we do not look at the value
			put(object, strings.Split(path, "."), others[path])
		}
	}
	if s.Chance(20) {
		object["unknownField"] = true
	}
	text := mustJSON(object)
	if s.Chance(3) {
		return text
	}
	text, err := yaml.JSONToYAML(text)
	if err != nil {
		panic(err)
	}
	return text
}

// anyValue is one of the values of a field or, now and then, null or one of another field.
func anyValue(s *generate.Source, values []any) any {
	switch s.IntN(24) {
	case 0:
		return nil
	case 1:
		return generate.Pick[any](s, "", 0, true, "true", []any{}, map[string]any{}, 1.5, "1")
	}
	return generate.Pick(s, values...)
}

// put sets a field of nested objects.
func put(object map[string]any, path []string, value any) {
	if len(path) == 1 {
		object[path[0]] = value
		return
	}
	inner, ok := object[path[0]].(map[string]any)
	if !ok {
		inner = map[string]any{}
		object[path[0]] = inner
	}
	put(inner, path[1:], value)
}

// configurationFields are the fields that we have, and values of them.
func configurationFields() map[string][]any {
	times := []any{"2m", "0s", "30s", "1h2m3s", "1.5s", "500ms", "0", "-1s", "2", "", 5, "1d"}
	return map[string][]any{
		"authentication.anonymous.enabled":           {true, false},
		"authentication.webhook.enabled":             {true, false},
		"authentication.webhook.cacheTTL":            times,
		"authentication.x509.clientCAFile":           {"/etc/ca.crt", "ca.crt", "../ca.crt", ""},
		"authorization.mode":                         {"Webhook", "AlwaysAllow", "Webhook", "", "webhook", "RBAC"},
		"authorization.webhook.cacheAuthorizedTTL":   times,
		"authorization.webhook.cacheUnauthorizedTTL": times,
		"address":             {"127.0.0.1", "::", "192.0.2.1", "node", "1.2.3", ""},
		"port":                {10250, 1, 65535, 0, -1, 65536, 4294967296, 10250.5},
		"tlsCertFile":         {"/tls.crt", "tls.crt", ""},
		"tlsPrivateKeyFile":   {"/tls.key", "tls.key", ""},
		"tlsMinVersion":       {"VersionTLS12", "VersionTLS13", "VersionTLS10", "", "1.2"},
		"tlsCipherSuites":     {[]any{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, []any{}, []any{"TLS_NONE"}},
		"tlsCurvePreferences": {[]any{29, 23}, []any{}, []any{99999}},
		"featureGates": {
			// The kubelet panics on a gate that it does not know, and on one that is locked.
			map[string]any{"KubeletFineGrainedAuthz": true}, map[string]any{"KubeletAllocatedPodsEndpoint": true}, map[string]any{},
		},
	}
}

// otherFields are fields of the kubelet that have no meaning here.
func otherFields() map[string]any {
	return map[string]any{
		"readOnlyPort":                     10255,
		"clusterDNS":                       []any{"10.96.0.10"},
		"evictionHard":                     map[string]any{"memory.available": "100Mi"},
		"cgroupDriver":                     "systemd",
		"logging.verbosity":                2,
		"streamingConnectionIdleTimeout":   "4h",
		"memorySwap.swapBehavior":          "NoSwap",
		"shutdownGracePeriodByPodPriority": []any{map[string]any{"priority": 1, "shutdownGracePeriodSeconds": 2}},
		"userNamespaces.idsPerPod":         65536,
		"imageGCHighThresholdPercent":      85,
		"registerWithTaints":               []any{map[string]any{"key": "k", "effect": "NoSchedule"}},
	}
}
