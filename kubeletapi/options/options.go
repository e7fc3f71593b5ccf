// Package options is the command line of a server: the kubelet's flags and its
// configuration file, with the kubelet's names, defaults and precedence.
package options

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/internal/settings"
	"kubeletauth/kubeletapi/upstream"
)

// Options is all that a command line and the files that it names can say. It
// must not be changed while it is in use. [Parse] makes one; options.go has the
// table of flags and fields.
type Options struct {
	kubeletapi.Config

	// Where liveness and readiness are told in plain HTTP. Port 0 is nowhere.
	HealthzBindAddress string
	HealthzPort        int

	// What the node's API shows. No SystemLogDir is no /logs/.
	EnableSystemLogHandler bool
	SystemLogDir           string
	Profiling              bool

	// Where a line for each request goes. No DecisionLog is nowhere. The mode is
	// DropMode or BlockingMode.
	DecisionLog, DecisionLogMode string

	// What else is served: all that Upstream has, or, with UpstreamPaths, what it
	// has below those.
	Upstream      upstream.Config
	UpstreamPaths []string
}

// The values of DecisionLogMode.
const (
	DropMode     = "drop"     // lines that cannot be written fast enough
	BlockingMode = "blocking" // has requests wait for their line
)

// settings is the table of all flags and fields, and where they lead.
func (o *Options) settings() settings.Table {
	return settings.Table{
		{Title: "Configuration"},
		{Flag: "config", Target: new(string), Usage: "file with a KubeletConfiguration; its defaults are the safe ones, and flags beat it"},
		{Flag: "config-dir", Target: new(string), Usage: "folder of drop-ins (*.conf), each a KubeletConfiguration, laid over --config in the order of their names"},
		{Flag: "hostname-override", Target: &o.HostnameOverride, Usage: "name of the node in every access review, in place of the host name"},
		{Flag: "feature-gates", Field: "featureGates", Target: &o.FeatureGates, Usage: "pairs name=true|false; " + kubeletapi.FineGrainedGate + " asks for the kubelet's fine-grained subresources"},
		{Title: "Authentication"},
		{Flag: "anonymous-auth", Field: "authentication.anonymous.enabled", Target: &o.AnonymousAuth, Usage: "let requests without credentials pass as system:anonymous"},
		{Flag: "anonymous-auth-paths", Field: "authentication.anonymous.conditions", Target: (*settings.Paths)(&o.AnonymousAuthPaths), Usage: "paths that may be asked for without credentials, to the letter, separated by commas; empty: all"},
		{Flag: "client-ca-file", Field: "authentication.x509.clientCAFile", Target: &o.ClientCAFile, Usage: "authorities whose client certificates are accepted; turns certificates on"},
		{Flag: "authentication-token-webhook", Field: "authentication.webhook.enabled", Target: &o.AuthenticationTokenWebhook, Usage: "accept bearer tokens that the API server accepts in a TokenReview"},
		{Flag: "authentication-token-webhook-cache-ttl", Field: "authentication.webhook.cacheTTL", Target: &o.AuthenticationTokenWebhookCacheTTL, Usage: "how long an accepted token is remembered; 0 is not at all"},
		{Flag: "authentication-stale-if-error", Target: &o.AuthenticationStaleIfError, Usage: "how much longer a token is accepted while the API server cannot be asked, never beyond its exp; 0 is not at all"},
		{Flag: "api-audiences", Target: &o.APIAudiences, Usage: "audiences of which a token must be for one, separated by commas; none: the API server's own"},
		{Title: "Authorization"},
		{Flag: "authorization-mode", Field: "authorization.mode", Target: &o.AuthorizationMode, Usage: "AlwaysAllow, or Webhook to ask the API server with a SubjectAccessReview"},
		{Flag: "request-attributes", Target: &o.RequestAttributes, Usage: "kubelet: a request asks for a verb on a subresource of the node; nonresource: for the verb of its method on its path"},
		{Flag: "strict-streaming-verbs", Target: &o.StrictStreamingVerbs, Usage: "ask for create, whatever the method, where a request is an upgrade or for /exec, /run, /attach or /portForward"},
		{Flag: "authorization-webhook-cache-authorized-ttl", Field: "authorization.webhook.cacheAuthorizedTTL", Target: &o.AuthorizationWebhookCacheAuthorizedTTL, Usage: "how long an answer that allows is remembered; 0 is not at all"},
		{Flag: "authorization-webhook-cache-unauthorized-ttl", Field: "authorization.webhook.cacheUnauthorizedTTL", Target: &o.AuthorizationWebhookCacheUnauthorizedTTL, Usage: "how long any other answer is remembered; 0 is not at all"},
		{Flag: "authorization-stale-if-error", Target: &o.AuthorizationStaleIfError, Usage: "how much longer an answer is used while the API server cannot be asked; 0 is not at all"},
		{Title: "API server"},
		{Flag: "kubeconfig", Target: &o.Kubeconfig, Usage: "file that says how to reach the API server"},
		{Flag: "in-cluster", Target: &o.InCluster, Usage: "reach the API server as the service account of the pod this runs in"},
		{Flag: "kube-api-qps", Field: "kubeAPIQPS", Target: &o.KubeAPIQPS, Usage: "reviews per second for credentials that were never good; others are not counted"},
		{Flag: "kube-api-burst", Field: "kubeAPIBurst", Target: &o.KubeAPIBurst, Usage: "how many of these reviews may come at once"},
		{Title: "Serving"},
		{Flag: "address", Field: "address", Target: &o.Address, Usage: "IP address to listen on; 0.0.0.0 or :: for all"},
		{Flag: "port", Field: "port", Target: &o.Port, Usage: "port to listen on"},
		{Flag: "tls-cert-file", Field: "tlsCertFile", Target: &o.TLSCertFile, Usage: "serving certificate, followed by its intermediates; with neither file, one is made"},
		{Flag: "tls-private-key-file", Field: "tlsPrivateKeyFile", Target: &o.TLSPrivateKeyFile, Usage: "key of the serving certificate"},
		{Flag: "cert-dir", Target: &o.CertDir, Usage: "folder in which the certificate that is made is kept; empty: in memory"},
		{Flag: "tls-min-version", Field: "tlsMinVersion", Target: &o.TLSMinVersion, Usage: "VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13"},
		{Flag: "tls-cipher-suites", Field: "tlsCipherSuites", Target: &o.TLSCipherSuites, Usage: "names of the cipher suites up to TLS 1.2, separated by commas; empty: Go's"},
		{Field: "tlsCurvePreferences", Target: &o.TLSCurvePreferences},
		{Title: "What is served"},
		{Flag: "healthz-port", Field: "healthzPort", Target: &o.HealthzPort, ZeroCounts: true, Usage: "port for /healthz and /readyz in plain HTTP, for everyone who can connect; 0 is off"},
		{Flag: "healthz-bind-address", Field: "healthzBindAddress", Target: &o.HealthzBindAddress, Usage: "IP address of --healthz-port"},
		{Flag: "system-log-dir", Target: &o.SystemLogDir, Usage: "folder whose files /logs/ shows; empty: none"},
		{Field: "enableSystemLogHandler", Target: &o.EnableSystemLogHandler},
		{Flag: "decision-log", Target: &o.DecisionLog, Usage: "file that gets a line of JSON for each request, and is opened again at SIGHUP; - is the standard output; empty: none"},
		{Flag: "decision-log-mode", Target: &o.DecisionLogMode, Usage: "where the file is too slow: drop lines, which are counted, or blocking, so that requests wait"},
		{Flag: "profiling", Field: "enableProfilingHandler", Target: &o.Profiling, Usage: "show profiles of this program at /debug/pprof/"},
		{Title: "Upstream"},
		{Flag: "upstream", Target: &o.Upstream.URL, Usage: "service to pass requests on to: http://host:port, https://host:port or unix:///path/of.sock"},
		{Flag: "upstream-paths", Target: &o.UpstreamPaths, Usage: "prefixes of the paths that are passed on, of whole segments, separated by commas; empty: all; /metrics/kubeletauth never is"},
		{Flag: "upstream-ca-file", Target: &o.Upstream.CAFile, Usage: "authorities of an https upstream; empty: the system's"},
		{Flag: "upstream-cert-file", Target: &o.Upstream.CertFile, Usage: "client certificate for an https upstream"},
		{Flag: "upstream-key-file", Target: &o.Upstream.KeyFile, Usage: "key of the client certificate"},
		{Flag: "upstream-protocol", Target: &o.Upstream.Protocol, Usage: "h2c: HTTP/2 that is not encrypted, to this machine"},
		{Flag: "upstream-timeout", Target: &o.Upstream.Timeout, Usage: "how long an answer may take to begin; 0 is no limit"},
		{Flag: "upstream-idle-timeout", Target: &o.Upstream.IdleTimeout, Usage: "how long a stream or tunnel may be silent; 0 is no limit"},
		{Flag: "upstream-identity-headers", Target: &o.Upstream.IdentityHeaders, Usage: "tell the upstream who asks, in X-Remote-User, X-Remote-Uid, X-Remote-Group and X-Remote-Extra-*"},
	}
}

// flagDefaults is what the kubelet does without a configuration file, except
// that only this machine can reach it (AddKubeletConfigFlags and
// applyLegacyDefaults of cmd/kubelet/app/options/options.go).
func flagDefaults() Options {
	o := fileDefaults()
	o.AnonymousAuth = true
	o.AuthenticationTokenWebhook = false
	o.AuthorizationMode = kubeletapi.ModeAlwaysAllow
	return o
}

// fileDefaults is what a KubeletConfiguration means that says nothing
// (SetDefaults_KubeletConfiguration of pkg/kubelet/apis/config/v1beta1/defaults.go).
func fileDefaults() Options {
	return Options{
		Config: kubeletapi.Config{
			AuthenticationTokenWebhook:               true,
			AuthenticationTokenWebhookCacheTTL:       2 * time.Minute,
			AuthorizationMode:                        kubeletapi.ModeWebhook,
			AuthorizationWebhookCacheAuthorizedTTL:   5 * time.Minute,
			AuthorizationWebhookCacheUnauthorizedTTL: 30 * time.Second,
			RequestAttributes:                        kubeletapi.AttributesKubelet,
			KubeAPIQPS:                               50,
			KubeAPIBurst:                             100,
			Address:                                  "127.0.0.1",
			Port:                                     10250,
			TLSMinVersion:                            "VersionTLS12",
		},
		HealthzBindAddress:     "127.0.0.1",
		HealthzPort:            10248,
		DecisionLogMode:        DropMode,
		EnableSystemLogHandler: true,
		SystemLogDir:           "/var/log",
		Upstream:               upstream.Config{Timeout: 30 * time.Second, IdleTimeout: 4 * time.Hour},
	}
}

// check refuses values that cannot be used, by the names of their flags.
func (o *Options) check() error {
	switch {
	case o.Port < 1 || o.Port > 65535:
		return fmt.Errorf("--port %d: must be from 1 to 65535", o.Port)
	case o.HealthzPort < 0 || o.HealthzPort > 65535:
		return fmt.Errorf("--healthz-port %d: must be from 0, which is off, to 65535", o.HealthzPort)
	case o.KubeAPIQPS < 0 || o.KubeAPIBurst < 0:
		return errors.New("--kube-api-qps and --kube-api-burst: must be 0, which is the default, or more")
	case o.Upstream.URL == "" && (len(o.UpstreamPaths) > 0 || o.Upstream.CAFile+o.Upstream.CertFile+o.Upstream.KeyFile+o.Upstream.Protocol != "" || o.Upstream.IdentityHeaders):
		return errors.New("--upstream-*: need --upstream to say where requests are passed on to")
	case o.DecisionLogMode != DropMode && o.DecisionLogMode != BlockingMode:
		return fmt.Errorf("--decision-log-mode %q: must be %s or %s", o.DecisionLogMode, DropMode, BlockingMode)
	case (o.Upstream.CertFile == "") != (o.Upstream.KeyFile == ""):
		return errors.New("--upstream-cert-file and --upstream-key-file go together: give both, or neither")
	case o.Kubeconfig != "" && o.InCluster:
		return errors.New("--kubeconfig and --in-cluster: give one of them")
	}
	for _, path := range o.UpstreamPaths {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("--upstream-paths %q: must begin with a slash", path)
		}
	}
	return cmp.Or(checkAddress("address", o.Address), checkAddress("healthz-bind-address", o.HealthzBindAddress), o.Validate())
}

func checkAddress(flag, address string) error {
	if _, err := netip.ParseAddr(address); err != nil {
		return fmt.Errorf("--%s %q: must be an IP address", flag, address)
	}
	return nil
}
