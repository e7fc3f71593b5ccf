// Package kubeclient is a client of one Kubernetes API server that can do three
// things: [Client.ReviewToken], [Client.ReviewAccess] and [Client.Version].
// Whoever holds it can ask who a token belongs to, what a user may do, and which
// version the server is, and nothing else.
//
// It takes its server and its credentials from a kubeconfig file or from the
// service account of the pod it runs in, as the kubelet and client-go do
// (k8s.io/client-go tools/clientcmd and rest), and goes on from there:
//
//   - It speaks https only, TLS 1.2 at least, and follows no redirect: a token
//     under review or a credential of ours is never sent anywhere else.
//   - All files are read again when they change, at most twice a second and
//     at once after the API server refused our credential with 401. A bad file
//     leaves its own last good contents in force, and holds up no other; a
//     certificate and its key are one. Files that a kubeconfig newly names must
//     be good for it to be used.
//   - Version v1 of both API groups is asked first. An API server that answers
//     404 to it is asked for v1beta1, which is remembered for ten minutes.
//   - Failures that may pass are retried as the kubelet retries them, within
//     [Config.Timeout]. After twenty in a row a review is one try, until one
//     succeeds; a question that failed then is not sent again for a quarter of a
//     second, in which the failure is its answer.
//   - At most 1 MiB of an answer is read, and it must be the review that was
//     asked for, or not say what it is. Unknown fields are ignored, and so are those
//     whose names differ from Kubernetes' in small and capital letters only.
//   - No error and no log line holds a token, a key, a password, or the body of
//     a request. What the API server says in an error is cut to one line of 1 KiB.
//     Only what a server sends after its answer, over HTTP/1.1, net/http writes to
//     the standard logger of package log as it is: send that where nobody reads, if
//     your API server is not to be trusted with its own tokens.
package kubeclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

const defaultTimeout = 10 * time.Second

// Config says where the API server is and how to talk to it. Exactly one of
// Kubeconfig and InCluster must be set.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file in YAML or JSON, of which
	// the current context is used. Relative paths in it start at its folder.
	Kubeconfig string
	// InCluster takes the address from KUBERNETES_SERVICE_HOST and
	// KUBERNETES_SERVICE_PORT, and the credentials from the service account
	// that Kubernetes mounts into a pod.
	InCluster bool
	// Timeout bounds one review with all its retries. Zero means 10 seconds;
	// there is no way to wait forever.
	Timeout time.Duration
	// UserAgent is sent with every request. Empty means
	// kubeletauth/<version> (<os>/<arch>).
	UserAgent string
	// Logger is told of what is unsafe in the configuration.
	// Nil means slog.Default().
	Logger *slog.Logger
	// Observe, if set, is told of every HTTP request: what it asked for
	// ("tokenreviews" or "subjectaccessreviews"), the code of the answer or
	// "<error>", and how long it took. It is called concurrently.
	Observe func(resource, code string, d time.Duration)
	// Report is told of every reload of a file: nil when its new contents are in
	// force, or why the old ones stay, with the file's name, once for the same
	// error. It must not ask the Client for a review. If it is nil, the Logger is told.
	Report func(error)
}

// Client asks one API server for reviews. It implements [authn.TokenReviewer]
// and [authz.AccessReviewer], is safe for concurrent use, and is made by [New]:
// the zero Client answers nothing but errors.
type Client struct {
	config  Config
	files   *clientFiles
	plugins pluginRuns
	closed  atomic.Bool
	trouble trouble

	tokens   api
	accesses api
}

// New reads and checks the files that cfg names. It does not contact the API
// server and runs no credential plugin, so that it succeeds while the API server
// is down. Its errors name the file and the field and say what to do.
func New(cfg Config) (*Client, error) {
	return newClient(cfg, serviceAccountFolder)
}

func newClient(cfg Config, serviceAccount string) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Client{
		config:   cfg,
		plugins:  pluginRuns{Timeout: pluginTimeout},
		trouble:  trouble{failed: ttlcache.NewTable[error](maxRemembered)},
		tokens:   api{kind: "TokenReview", group: "authentication.k8s.io", resource: "tokenreviews"},
		accesses: api{kind: "SubjectAccessReview", group: "authorization.k8s.io", resource: "subjectaccessreviews"},
	}
	files, err := newClientFiles(&c.config, serviceAccount, &c.plugins)
	if err != nil {
		return nil, err
	}
	c.files = files
	return c, nil
}

// complete checks cfg and fills in the defaults.
func (cfg *Config) complete() error {
	switch {
	case cfg.Kubeconfig == "" && !cfg.InCluster:
		return errors.New("no API server to ask: name a kubeconfig file, or choose the in-cluster configuration")
	case cfg.Kubeconfig != "" && cfg.InCluster:
		return errors.New("both a kubeconfig file and the in-cluster configuration are given: choose one")
	case cfg.Timeout < 0:
		return fmt.Errorf("the time limit of a review must not be negative, and is %v", cfg.Timeout)
	case !validHeader(cfg.UserAgent):
		return errors.New("the user agent contains a control character")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, userAgent())
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Report == nil {
		cfg.Report = cfg.logReload
	}
	return nil
}

func (cfg *Config) logReload(err error) {
	if err != nil {
		cfg.Logger.Error("a file of the API server client has changed and cannot be used; what it said before stays in force", "err", err)
	} else {
		cfg.Logger.Info("a file of the API server client has changed and is used")
	}
}

// ReviewToken asks the API server whose token this is. An error means that
// there is no answer: an [*StatusError] if the API server answered with another
// code than those of success. A token that is not valid UTF-8, which JSON
// cannot carry unchanged, is answered as a refused one without asking.
func (c *Client) ReviewToken(ctx context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	if _, err := c.session(); err == nil && !utf8.ValidString(spec.Token) {
		return &authn.TokenReviewStatus{Error: "the token is not valid UTF-8"}, nil
	}
	q := &question{
		api:    &c.tokens,
		spec:   func(string) any { return spec },
		secret: spec.Token,
	}
	status, err := review[authn.TokenReviewStatus](ctx, c, q)
	if err != nil {
		return nil, err
	}
	status.Error = oneLine(status.Error, q.held...)
	return status, nil
}

// ReviewAccess asks the API server whether a user may do something. An error
// means that there is no answer: an [*StatusError] if the API server answered
// with another code than those of success. An API server that knows only v1beta1 is
// not told the selectors, so that it is asked for more, never for less.
func (c *Client) ReviewAccess(ctx context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	q := &question{
		api:  &c.accesses,
		spec: func(version string) any { return accessSpec(spec, version) },
	}
	status, err := review[authz.SubjectAccessReviewStatus](ctx, c, q)
	if err != nil {
		return nil, err
	}
	status.Reason, status.EvaluationError = redact(status.Reason, q.held...), redact(status.EvaluationError, q.held...)
	return status, nil
}

// Server returns the URL of the API server, for messages. It never holds
// credentials, and may change when the kubeconfig does.
func (c *Client) Server() string {
	s, err := c.session()
	if err != nil {
		return ""
	}
	return s.server.String()
}

// Close ends a credential plugin that is running, waits for it, and closes the
// connections that are not in use; the others are closed when their review ends.
// Later reviews fail. It may be called more than once.
func (c *Client) Close() {
	if _, err := c.session(); err != nil {
		return
	}
	c.closed.Store(true)
	c.plugins.Close()
	c.files.current.Load().retire() // a later one is that of a review, which retires it at its end
}

// session returns what the files say now.
func (c *Client) session() (*session, error) {
	if c.files == nil || c.closed.Load() {
		return nil, errors.New("the client of the API server is closed, or was not made by New")
	}
	return c.files.get(), nil
}

// credential returns that too, and what to use for a request now.
func (c *Client) credential(ctx context.Context) (*session, *credential, error) {
	s, err := c.session()
	if err != nil {
		return nil, nil, err
	}
	cred, err := s.credential(ctx)
	return s, cred, err
}
