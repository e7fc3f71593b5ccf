package e2e

import (
	"fmt"
	"slices"
	"strings"
)

// cisCheck is a check of the CIS Kubernetes Benchmark as kube-bench makes it: of the command line if that has the flag,
// else of a field of the configuration file.
type cisCheck struct {
	id          string // of the benchmark
	flag, field string // either may be empty
	ours        bool   // whether it means something here: then /configz shows the field
	holds       func(value string, set bool) bool
}

// cisChecks are 4.2.1 to 4.2.13 of cfg/cis-1.12/node.yaml. Where that says "or not set", the value may be missing.
var cisChecks = []cisCheck{
	{"4.2.1", "anonymous-auth", "authentication.anonymous.enabled", true, cisIs("false")},
	{"4.2.2", "authorization-mode", "authorization.mode", true, cisLacks("AlwaysAllow")},
	{"4.2.3", "client-ca-file", "authentication.x509.clientCAFile", true, cisIsSet},
	{"4.2.4", "read-only-port", "readOnlyPort", false, cisOrUnset(cisIs("0"))},
	{"4.2.5", "streaming-connection-idle-timeout", "streamingConnectionIdleTimeout", false, cisOrUnset(cisLacks("0"))},
	{"4.2.6", "make-iptables-util-chains", "makeIPTablesUtilChains", false, cisOrUnset(cisIs("true"))},
	{"4.2.7", "hostname-override", "", true, cisIsUnset},
	{"4.2.8", "event-qps", "eventRecordQPS", false, cisOrUnset(cisIsNoNegative)},
	{"4.2.9 certificate", "tls-cert-file", "tlsCertFile", true, cisIsSet},
	{"4.2.9 key", "tls-private-key-file", "tlsPrivateKeyFile", true, cisIsSet},
	{"4.2.10", "rotate-certificates", "rotateCertificates", false, cisOrUnset(cisIs("true"))},
	{"4.2.11", "", "featureGates.RotateKubeletServerCertificate", false, cisOrUnset(cisLacks("false"))},
	{"4.2.12", "tls-cipher-suites", "tlsCipherSuites", true, cisIsAmong(cisCipherSuites)},
	{"4.2.13", "pod-max-pids", "podPidsLimit", false, cisIsSet},
}

// cisCipherSuites are those that 4.2.12 calls strong, by the names that it has for them.
var cisCipherSuites = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
}

func cisIsSet(_ string, set bool) bool          { return set }
func cisIsUnset(_ string, set bool) bool        { return !set }
func cisIsNoNegative(value string, _ bool) bool { return !strings.HasPrefix(value, "-") }

func cisIs(want string) func(string, bool) bool {
	return func(value string, set bool) bool { return set && value == want }
}

func cisLacks(unwanted string) func(string, bool) bool {
	return func(value string, set bool) bool { return set && value != unwanted }
}

func cisOrUnset(holds func(string, bool) bool) func(string, bool) bool {
	return func(value string, set bool) bool { return !set || holds(value, set) }
}

func cisIsAmong(allowed []string) func(string, bool) bool {
	return func(value string, set bool) bool {
		for item := range strings.SplitSeq(value, ",") {
			set = set && slices.Contains(allowed, item)
		}
		return set
	}
}

// cisFailed are the checks that a command line and a configuration do not pass.
func cisFailed(checks []cisCheck, args []string, config map[string]any) []string {
	var failed []string
	for _, check := range checks {
		value, set := cisFlag(args, check.flag)
		if !set {
			value, set = cisField(config, check.field)
		}
		if !check.holds(value, set) {
			failed = append(failed, check.id)
		}
	}
	return failed
}

// cisFlag is the value of a flag. The last one counts.
func cisFlag(args []string, name string) (value string, set bool) {
	for _, arg := range args {
		given, text, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name != "" && given == name {
			value, set = text, true
		}
	}
	return value, set
}

// cisField is the value of a field, by a path with dots; a list is joined by commas. What is empty is not set.
func cisField(config map[string]any, path string) (value string, set bool) {
	var at any = config
	for name := range strings.SplitSeq(path, ".") {
		fields, _ := at.(map[string]any)
		at = fields[name]
	}
	switch v := at.(type) {
	case nil:
		return "", false
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, fmt.Sprint(item))
		}
		value = strings.Join(items, ",")
	default:
		value = fmt.Sprint(v)
	}
	return value, value != ""
}
