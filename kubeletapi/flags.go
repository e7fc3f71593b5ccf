package kubeletapi

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"kubeletauth/kubeletapi/internal/settings"
)

// settings is the table of all flags and fields, and where they lead.
func (cfg *Config) settings() settings.Table {
	return settings.Table{
		{Title: "Configuration", Settings: []settings.Setting{
			{Flag: "config", Target: new(string), Usage: "file with a KubeletConfiguration; its defaults are the safe ones, and flags beat it"},
			{Flag: "config-dir", Target: new(string), Usage: "folder of drop-ins (*.conf), each a KubeletConfiguration, laid over --config in the order of their names"},
			{Flag: "hostname-override", Target: &cfg.HostnameOverride, Usage: "name of the node in every access review, in place of the host name"},
			{Flag: "feature-gates", Field: "featureGates", Target: &cfg.FeatureGates, Usage: "pairs name=true|false; " + fineGrainedGate + " asks for the kubelet's fine-grained subresources"},
		}},
		{Title: "Authentication", Settings: []settings.Setting{
			{Flag: "anonymous-auth", Field: "authentication.anonymous.enabled", Target: &cfg.AnonymousAuth, Usage: "let requests without credentials pass as system:anonymous"},
			{Flag: "client-ca-file", Field: "authentication.x509.clientCAFile", Target: &cfg.ClientCAFile, Usage: "authorities whose client certificates are accepted; turns certificates on"},
			{Flag: "authentication-token-webhook", Field: "authentication.webhook.enabled", Target: &cfg.AuthenticationTokenWebhook, Usage: "accept bearer tokens that the API server accepts in a TokenReview"},
			{Flag: "authentication-token-webhook-cache-ttl", Field: "authentication.webhook.cacheTTL", Target: &cfg.AuthenticationTokenWebhookCacheTTL, Usage: "how long an accepted token is remembered; 0 is not at all"},
			{Flag: "api-audiences", Target: &cfg.APIAudiences, Usage: "audiences of which a token must be for one, separated by commas; none: the API server's own"},
		}},
		{Title: "Authorization", Settings: []settings.Setting{
			{Flag: "authorization-mode", Field: "authorization.mode", Target: &cfg.AuthorizationMode, Usage: "AlwaysAllow, or Webhook to ask the API server with a SubjectAccessReview"},
			{Flag: "authorization-webhook-cache-authorized-ttl", Field: "authorization.webhook.cacheAuthorizedTTL", Target: &cfg.AuthorizationWebhookCacheAuthorizedTTL, Usage: "how long an answer that allows is remembered; 0 is not at all"},
			{Flag: "authorization-webhook-cache-unauthorized-ttl", Field: "authorization.webhook.cacheUnauthorizedTTL", Target: &cfg.AuthorizationWebhookCacheUnauthorizedTTL, Usage: "how long any other answer is remembered; 0 is not at all"},
		}},
		{Title: "API server", Settings: []settings.Setting{
			{Flag: "kubeconfig", Target: &cfg.Kubeconfig, Usage: "file that says how to reach the API server"},
			{Flag: "in-cluster", Target: &cfg.InCluster, Usage: "reach the API server as the service account of the pod this runs in"},
		}},
		{Title: "Serving", Settings: []settings.Setting{
			{Flag: "address", Field: "address", Target: &cfg.Address, Usage: "IP address to listen on; 0.0.0.0 or :: for all"},
			{Flag: "port", Field: "port", Target: &cfg.Port, Usage: "port to listen on"},
			{Flag: "tls-cert-file", Field: "tlsCertFile", Target: &cfg.TLSCertFile, Usage: "serving certificate, followed by its intermediates; with neither file, one is made"},
			{Flag: "tls-private-key-file", Field: "tlsPrivateKeyFile", Target: &cfg.TLSPrivateKeyFile, Usage: "key of the serving certificate"},
			{Flag: "cert-dir", Target: &cfg.CertDir, Usage: "folder in which the certificate that is made is kept; empty: in memory"},
			{Flag: "tls-min-version", Field: "tlsMinVersion", Target: &cfg.TLSMinVersion, Usage: "VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13"},
			{Flag: "tls-cipher-suites", Field: "tlsCipherSuites", Target: &cfg.TLSCipherSuites, Usage: "names of the cipher suites up to TLS 1.2, separated by commas; empty: Go's"},
			{Field: "tlsCurvePreferences", Target: &cfg.TLSCurvePreferences},
		}},
	}
}

// flagDefaults is what the kubelet does without a configuration file, except
// that only this machine can reach it (addKubeletConfigFlags and
// applyLegacyDefaults of cmd/kubelet/app/options/options.go).
func flagDefaults() Config {
	cfg := fileDefaults()
	cfg.AnonymousAuth = true
	cfg.AuthenticationTokenWebhook = false
	cfg.AuthorizationMode = ModeAlwaysAllow
	return cfg
}

// fileDefaults is what a KubeletConfiguration means that says nothing
// (SetDefaults_KubeletConfiguration of pkg/kubelet/apis/config/v1beta1/defaults.go).
func fileDefaults() Config {
	return Config{
		AuthenticationTokenWebhook:               true,
		AuthenticationTokenWebhookCacheTTL:       2 * time.Minute,
		AuthorizationMode:                        ModeWebhook,
		AuthorizationWebhookCacheAuthorizedTTL:   5 * time.Minute,
		AuthorizationWebhookCacheUnauthorizedTTL: 30 * time.Second,
		Address:                                  "127.0.0.1",
		Port:                                     10250,
		TLSMinVersion:                            "VersionTLS12",
	}
}

// UsageError is a command line that cannot be used.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *UsageError) Unwrap() error { return e.Err }

// ParseFlags returns the configuration that a command line describes, with the
// kubelet's names, defaults and precedence: a flag that is given beats the
// drop-ins in --config-dir, which beat the file in --config. In names of flags,
// underscores equal dashes.
//
// It returns also the fields of the files that are the kubelet's and have no
// meaning here. The error is an [*UsageError] for a mistake in args, with a
// text that says how to mend it, and [flag.ErrHelp] for -h.
func ParseFlags(args []string) (cfg Config, ignored []string, err error) {
	args = withDashes(args)
	cfg = flagDefaults()
	file, dir, err := cfg.parse(args)
	if err == nil {
		err = cfg.check()
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return cfg, nil, err
	case err != nil:
		return cfg, nil, &UsageError{fmt.Errorf("%w (-h lists the flags)", err)}
	case file == "" && dir == "":
		return cfg, nil, nil
	}
	cfg = flagDefaults()
	if file != "" {
		cfg = fileDefaults()
	}
	if ignored, err = cfg.loadFiles(file, dir); err != nil {
		return cfg, nil, err
	}
	if _, _, err = cfg.parse(args); err == nil {
		err = cfg.check()
	}
	return cfg, ignored, err
}

// parse lays the flags that are given over cfg.
func (cfg *Config) parse(args []string) (file, dir string, err error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cfg.settings().Register(flags)
	if err := flags.Parse(args); err != nil {
		return "", "", err
	}
	if flags.NArg() > 0 {
		return "", "", fmt.Errorf("unexpected argument %q: on and off are given as --name=true and --name=false", flags.Arg(0))
	}
	flags.Visit(func(f *flag.Flag) { // not the defaults without a file, for an empty variable in a script
		if strings.HasPrefix(f.Name, "config") && f.Value.String() == "" {
			err = fmt.Errorf("--%s is given and empty: name a file or folder, or leave it out", f.Name)
		}
	})
	return flags.Lookup("config").Value.String(), flags.Lookup("config-dir").Value.String(), err
}

// check refuses values that cannot be used, by the names of their flags.
func (cfg *Config) check() error {
	if cfg.Port < 1 || cfg.Port > 65535 {
		return fmt.Errorf("--port %d: must be from 1 to 65535", cfg.Port)
	}
	if _, err := netip.ParseAddr(cfg.Address); err != nil {
		return fmt.Errorf("--address %q: must be an IP address", cfg.Address)
	}
	if cfg.Kubeconfig != "" && cfg.InCluster {
		return errors.New("--kubeconfig and --in-cluster: give one of them")
	}
	_, err := cfg.tlsConfig()
	return cmp.Or(err, cfg.checkGates(), cfg.checkMode())
}

// withDashes writes the names of flags with dashes, as the kubelet takes them
// either way (WordSepNormalizeFunc of k8s.io/component-base cli/flag).
func withDashes(args []string) []string {
	var list []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			name, value, given := strings.Cut(arg, "=")
			if arg = strings.ReplaceAll(name, "_", "-"); given {
				arg += "=" + value
			}
		}
		list = append(list, arg)
	}
	return list
}

// PrintFlags writes the flags by group, each with its default without a
// configuration file and with the field of the file that means the same.
func PrintFlags(w io.Writer) {
	cfg := flagDefaults()
	cfg.settings().Print(w)
}
