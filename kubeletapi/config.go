package kubeletapi

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/tlsconfig"
	"kubeletauth/kubeletapi/internal/ttlcache"
	"kubeletauth/kubeletapi/kubeclient"
)

// The values of [Config.AuthorizationMode].
const (
	ModeAlwaysAllow = "AlwaysAllow"
	ModeWebhook     = "Webhook"
)

// The values of [Config.RequestAttributes].
const (
	AttributesKubelet     = "kubelet"     // a verb on a subresource of the node
	AttributesNonResource = "nonresource" // a verb on a path
)

// Config is what the kubelet's flags and its configuration file say of its
// endpoint, under the names of the flags. Of a duration or a number, zero is the
// kubelet's default and negative is off.
//
// The zero Config lets nobody in, and [New] refuses it: a program has to say
// which mode it wants. Package options makes one of a command line.
type Config struct {
	// Authentication: who asks. Each way is off unless it is turned on here.
	AnonymousAuth                      bool          // requests without a credential are system:anonymous
	AnonymousAuthPaths                 []string      // those that AnonymousAuth is for, to the letter; none is all
	ClientCAFile                       string        // PEM of the authorities of client certificates; empty is off
	AuthenticationTokenWebhook         bool          // bearer tokens, which the API server reviews
	AuthenticationTokenWebhookCacheTTL time.Duration // how long an accepted token is remembered; 0 is 2 minutes
	AuthenticationStaleIfError         time.Duration // how much longer while the API server is down; 0 is not at all
	APIAudiences                       []string      // a token must be for one of these; none is the API server's own

	// Authorization: may they.
	AuthorizationMode                        string          // ModeAlwaysAllow or ModeWebhook; empty is an error
	AuthorizationWebhookCacheAuthorizedTTL   time.Duration   // how long an answer that allows is remembered; 0 is 5 minutes
	AuthorizationWebhookCacheUnauthorizedTTL time.Duration   // how long any other answer is; 0 is 30 seconds
	AuthorizationStaleIfError                time.Duration   // how much longer while the API server is down; 0 is not at all
	RequestAttributes                        string          // AttributesKubelet or AttributesNonResource; empty is AttributesKubelet
	StrictStreamingVerbs                     bool            // see [Auth.StrictStreamingVerbs]
	FeatureGates                             map[string]bool // FineGrainedGate alone; see [Auth.FineGrained]

	// HostnameOverride is the node's name, in place of the host's. Either is
	// trimmed and lower-cased.
	HostnameOverride string

	// The API server that reviews, where something is to be reviewed: one of these.
	Kubeconfig string // file that says how to reach it
	InCluster  bool   // as the service account of the pod that this program runs in

	// What those may cost the API server who have shown no good credential:
	// reviews per second that end in a refusal, and at once. Others are not
	// counted.
	KubeAPIQPS   int // 0 is 50; negative is no limit
	KubeAPIBurst int // 0 is 100

	// Serving; see [Server].
	Address             string   // empty is 127.0.0.1
	Port                int      // 0 is 10250
	TLSCertFile         string   // PEM of the serving certificate and its intermediates; empty, with the next: one is made
	TLSPrivateKeyFile   string   // PEM of its key
	TLSCipherSuites     []string // names of Go, for versions up to 1.2; none is Go's choice
	TLSMinVersion       string   // VersionTLS10 to VersionTLS13; empty is VersionTLS12
	TLSCurvePreferences []int    // numbers of [crypto/tls.CurveID], the best first; none is Go's choice
	CertDir             string   // folder for a certificate that is made; empty is in memory

	// TokenReviewer and AccessReviewer review in place of an API server's
	// client. Nil asks the API server named above.
	TokenReviewer  authn.TokenReviewer
	AccessReviewer authz.AccessReviewer

	// EventLogger is that of the Auth; see [Auth.EventLogger].
	EventLogger EventLogger

	// Logger is told what [Auth.Logger] is told, and of reloads. Nil is
	// slog.Default().
	Logger *slog.Logger
}

// FineGrainedGate is the one feature gate that [Config.FeatureGates] may have.
const FineGrainedGate = "KubeletFineGrainedAuthz"

// New returns the filter that cfg describes. It reads the files that cfg names,
// and returns an error that names the flag and the file if one does not do. It
// does not contact the API server, which may come up later.
func New(cfg Config) (*Auth, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for _, d := range []*time.Duration{&cfg.AuthenticationTokenWebhookCacheTTL, &cfg.AuthorizationWebhookCacheAuthorizedTTL, &cfg.AuthorizationWebhookCacheUnauthorizedTTL, &cfg.AuthenticationStaleIfError, &cfg.AuthorizationStaleIfError} {
		*d = min(*d, forever)
	}
	name, err := cfg.nodeName()
	if err != nil {
		return nil, err
	}
	requests := slog.New(fair.NewLogHandler(cfg.logger().Handler(), logRate, logBurst))
	auth := &Auth{NodeName: name, FineGrained: cfg.FeatureGates[FineGrainedGate], StrictStreamingVerbs: cfg.StrictStreamingVerbs, EventLogger: cfg.EventLogger, Logger: requests}
	auth.metrics.define()
	if auth.client, err = cfg.useClient(&auth.metrics); err != nil {
		return nil, err
	}
	auth.strangers, auth.insiders = cfg.newGate(), cfg.newGate()
	cfg.setAuthorizer(auth)
	if cfg.RequestAttributes == AttributesNonResource {
		auth.RequestAttributes = NonResource
		if cfg.StrictStreamingVerbs {
			auth.RequestAttributes = strictNonResource
		}
	}
	if err := cfg.setIdentities(auth); err != nil {
		return nil, err
	}
	return auth, nil
}

const (
	forever = 50 * 365 * 24 * time.Hour // four of it are still a time.Duration

	maxReviewed = 64 // of those who are not known, at once
	maxWaiting  = 512
	patience    = 5 * time.Second

	maxVerifying = 4096 // who wait for it: as many as there may be strangers' requests

	logRate, logBurst = 20, 200 // lines about requests, and as many errors
)

// newGate returns a gate for those whose reviews are counted.
func (cfg *Config) newGate() *fair.Gate {
	bucket := fair.Bucket{Rate: float64(cmp.Or(cfg.KubeAPIQPS, 50)), Burst: float64(max(cmp.Or(cfg.KubeAPIBurst, 100), 1))}
	return &fair.Gate{Concurrent: maxReviewed, Bucket: bucket, Waiting: maxWaiting, Patience: patience}
}

// nodeName is GetHostname of k8s.io/component-helpers node/util/hostname.go.
func (cfg *Config) nodeName() (string, error) {
	name := cfg.HostnameOverride
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("couldn't determine hostname: %w (set --hostname-override)", err)
		}
	}
	if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
		return "", errors.New("empty hostname is invalid (set --hostname-override to the name of this node)")
	}
	return name, nil
}

// useClient makes a client of the API server the reviewer of what is to be
// reviewed and has no reviewer yet.
func (cfg *Config) useClient(m *metrics) (*kubeclient.Client, error) {
	tokens := cfg.AuthenticationTokenWebhook && cfg.TokenReviewer == nil
	access := cfg.AuthorizationMode == ModeWebhook && cfg.AccessReviewer == nil
	if !tokens && !access {
		return nil, nil
	}
	if cfg.Kubeconfig == "" && !cfg.InCluster {
		what := map[bool]string{true: "authentication", false: "authorization"}[tokens]
		return nil, fmt.Errorf("no client provided, cannot use webhook %s (set --kubeconfig, or --in-cluster in a pod)", what)
	}
	client, err := kubeclient.New(kubeclient.Config{
		Kubeconfig: cfg.Kubeconfig,
		InCluster:  cfg.InCluster,
		Timeout:    reviewTimeout,
		Logger:     cfg.Logger,
		Observe:    m.review,
		Report:     cfg.reportReload(m, "kubeconfig"),
	})
	if err != nil {
		flag := map[bool]string{true: "--in-cluster", false: "--kubeconfig"}[cfg.InCluster]
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if tokens {
		cfg.TokenReviewer = client
	}
	if access {
		cfg.AccessReviewer = client
	}
	return client, nil
}

// Validate returns an error that names the flag of a value that cannot be used,
// as far as that shows without reading a file.
func (cfg *Config) Validate() error {
	if _, err := tlsconfig.New(cfg.TLSMinVersion, cfg.TLSCipherSuites, cfg.TLSCurvePreferences); err != nil {
		return err
	}
	for name := range cfg.FeatureGates {
		if name != FineGrainedGate {
			return fmt.Errorf("--feature-gates: unknown feature gate %s (there is %s)", name, FineGrainedGate)
		}
	}
	for _, path := range cfg.AnonymousAuthPaths {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("--anonymous-auth-paths %q: must begin with a slash", path)
		}
	}
	switch {
	case cfg.AuthorizationMode == "":
		return errors.New("no authorization mode specified (set --authorization-mode to Webhook or AlwaysAllow)")
	case cfg.AuthorizationMode != ModeAlwaysAllow && cfg.AuthorizationMode != ModeWebhook:
		return fmt.Errorf("unknown authorization mode %s (--authorization-mode is Webhook or AlwaysAllow)", cfg.AuthorizationMode)
	case !slices.Contains([]string{"", AttributesKubelet, AttributesNonResource}, cfg.RequestAttributes):
		return fmt.Errorf("--request-attributes %q: must be kubelet or nonresource", cfg.RequestAttributes)
	case len(cfg.AnonymousAuthPaths) > 0 && !cfg.AnonymousAuth:
		return errors.New("--anonymous-auth-paths: needs --anonymous-auth=true, as it says for which paths that is")
	}
	return nil
}

// setAuthorizer is BuildAuthz of cmd/kubelet/app/auth.go.
func (cfg *Config) setAuthorizer(auth *Auth) {
	if cfg.AuthorizationMode == ModeAlwaysAllow {
		auth.Authorizer = authz.AlwaysAllow{}
		return
	}
	auth.Authorizer = authz.Webhook{Reviewer: cfg.AccessReviewer}
	auth.asksAccess = cfg.AccessReviewer == authz.AccessReviewer(auth.client)
	auth.memory = &memory{
		authorizedTTL:   cmp.Or(cfg.AuthorizationWebhookCacheAuthorizedTTL, 5*time.Minute),
		unauthorizedTTL: cmp.Or(cfg.AuthorizationWebhookCacheUnauthorizedTTL, 30*time.Second),
		staleFor:        cfg.AuthorizationStaleIfError,
		logger:          auth.Logger,
		metrics:         &auth.metrics,
		seed:            maphash.MakeSeed(),
		others:          ttlcache.NewTable[answer](maxOwn),
	}
	auth.memory.reviews.Timeout = reviewTimeout
}

// setIdentities is BuildAuthn of cmd/kubelet/app/auth.go.
func (cfg *Config) setIdentities(auth *Auth) error {
	ids := &identities{
		tokenTTL:      cmp.Or(cfg.AuthenticationTokenWebhookCacheTTL, 2*time.Minute),
		staleFor:      cfg.AuthenticationStaleIfError,
		metrics:       &auth.metrics,
		logger:        auth.Logger,
		strangers:     auth.strangers,
		verifications: &fair.Gate{Concurrent: max(runtime.GOMAXPROCS(0)-1, 1), Waiting: maxVerifying, Patience: patience},
		keys:          ttlcache.NewKeyer(),
		byCertificate: ttlcache.NewTable[identity](maxIdentities),
		byToken:       ttlcache.NewTable[identity](maxIdentities),
		refusedChains: ttlcache.NewTable[verification](maxRefused),
		refusedTokens: ttlcache.NewTable[error](maxRefused),
		byUser:        ttlcache.NewTable[decisions](maxUsers),
	}
	ids.reviews.Timeout = reviewTimeout
	if auth.memory != nil {
		ids.userTTL = max(ids.tokenTTL, 0) + max(auth.memory.authorizedTTL, auth.memory.unauthorizedTTL, 1) + max(cfg.AuthenticationStaleIfError, 0) + max(cfg.AuthorizationStaleIfError, 0)
	}
	if cfg.AuthenticationTokenWebhook {
		ids.tokens = authn.Webhook{Reviewer: cfg.TokenReviewer, Audiences: cfg.APIAudiences}
	}
	if cfg.ClientCAFile != "" {
		ca, err := newClientCA(cfg.ClientCAFile, cfg.reportReload(&auth.metrics, "client-ca-file"))
		if err != nil {
			return fmt.Errorf("--client-ca-file: %w", err)
		}
		auth.clientCA = ca
		ids.roots = ca.GetAt
	}
	if cfg.AnonymousAuth {
		user, _, _ := authn.Anonymous{}.AuthenticateRequest(nil)
		ids.anonymous = &ids.newIdentity(ttlcache.Key{}, user, time.Now()).Value
		ids.anonymousPaths = slices.Clone(cfg.AnonymousAuthPaths)
	}
	auth.identities = ids
	auth.metrics.caches(auth)
	return nil
}

// reportReload returns a function that logs and counts what became of a change
// to a file.
func (cfg *Config) reportReload(m *metrics, file string) func(error) {
	logger := cfg.logger()
	m.watch(file)
	return func(err error) {
		m.reload(file, err)
		if err != nil {
			logger.Error("A changed file cannot be used; what it said before stays in force", "file", file, "err", err)
		} else {
			logger.Info("Reloaded", "file", file)
		}
	}
}

// ReportReload returns a function that logs and counts what became of a change to
// a file of the program's own, as of those of a Config. The name must be one of
// a few.
func (a *Auth) ReportReload(file string) func(error) {
	return (&Config{Logger: a.Logger}).reportReload(&a.metrics, file)
}

func (cfg *Config) logger() *slog.Logger { return cmp.Or(cfg.Logger, slog.Default()) }
