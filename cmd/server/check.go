package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/kubeclient"
)

const checkHelp = `Usage: server check [flags]

Says whether the server would work with these flags: whether it reaches the API
server and may ask it, what its certificates are good for, and what is open. With
a caller, it shows also what the API server lets that caller do. Nothing is
served, and nothing is changed.

It exits with 0 if nothing failed, with 1 if something did, and with 2 for a
mistake in the flags.

Flags:
`

// The values of [finding.Status].
const (
	statusOK      = "ok"
	statusWarning = "warning"
	statusFailed  = "failed"
)

// mostSkew is how far two clocks may be apart.
const mostSkew = 10 * time.Second

// report is the answer of server check.
type report struct {
	q      *inquiry
	OK     bool            `json:"ok"` // nothing failed
	Checks []finding       `json:"checks"`
	Caller *authn.UserInfo `json:"caller,omitempty"`
	Access []review        `json:"access,omitempty"` // what the caller may do
}

// finding is the outcome of one check, and what to do about it.
type finding struct {
	Check   string `json:"check"`
	Status  string `json:"status"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func checkCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	r := &report{q: &inquiry{name: "check", help: checkHelp}, OK: true}
	return r.q.run(ctx, func(ctx context.Context) (answer, error) {
		_, err := r.q.parse(args, 0)
		if err == nil {
			r.check(ctx)
		}
		return r, err
	}, stdout, stderr)
}

func (r *report) good() bool { return r.OK }

func (r *report) check(ctx context.Context) {
	client, reached := r.kubeconfig(ctx)
	defer client.Close()
	r.openings()
	auth, err := r.q.auth(client)
	if err != nil { // by the client CA, if not by the host's name: the rest of the checks does without
		r.fail("configuration", err, "")
		r.q.ClientCAFile = ""
		if auth, err = r.q.auth(client); err != nil {
			return
		}
	}
	defer auth.Close()
	r.files(auth.NodeName)
	if reached {
		r.apiServerUser(ctx, auth)
		r.caller(ctx, auth)
	}
}

func (r *report) note(check, status, message, hint string) {
	r.Checks = append(r.Checks, finding{check, status, message, hint})
	r.OK = r.OK && status != statusFailed
}

// fail notes an error, if it is one.
func (r *report) fail(check string, err error, hint string) {
	if err != nil {
		r.note(check, statusFailed, err.Error(), hint)
	}
}

// kubeconfig returns the server's client, and reports whether those can be asked
// who decide.
func (r *report) kubeconfig(ctx context.Context) (client *kubeclient.Client, reached bool) {
	var log bytes.Buffer
	client, err := r.q.client(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	r.fail("kubeconfig", err, "")
	if client.Server() == "" {
		if err == nil && (r.q.Kubeconfig != "" || r.q.InCluster) {
			r.note("kubeconfig", statusWarning, "is not used: bearer tokens are off, and the authorization mode is AlwaysAllow", "--authentication-token-webhook and --authorization-mode=Webhook use it")
		}
		return client, err == nil
	}
	r.note("kubeconfig", statusOK, client.Server(), "")
	for line := range strings.Lines(log.String()) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		r.note("kubeconfig", statusWarning, text, "")
	}
	if reached = r.apiServer(ctx, client); reached {
		r.reviews(ctx, client)
	}
	return client, reached
}

// apiServer reports whether there is an API server to ask.
func (r *report) apiServer(ctx context.Context, client *kubeclient.Client) (reached bool) {
	start := time.Now()
	version, date, err := client.Version(ctx)
	skew := date.Add(500 * time.Millisecond).Sub(start.Add(time.Since(start) / 2)).Round(time.Second) // the date has no fractions
	switch {
	case err != nil && date.IsZero():
		r.fail("API server", err, "")
		return false
	case err != nil: // which may be for others only
		r.note("API server", statusWarning, err.Error(), "")
	default:
		r.note("API server", statusOK, version, "")
	}
	switch {
	case date.IsZero():
	case skew.Abs() > mostSkew:
		r.note("clock", statusWarning, "this machine is "+skew.Abs().String()+either(skew > 0, " behind", " ahead of")+" the API server", "set the clock: certificates and tokens count from a time to a time")
	default:
		r.note("clock", statusOK, "within "+mostSkew.String()+" of the API server's", "")
	}
	return true
}

// reviews asks for a review of each kind that the server asks for.
func (r *report) reviews(ctx context.Context, client *kubeclient.Client) {
	if r.q.AuthenticationTokenWebhook {
		_, err := client.ReviewToken(ctx, authn.TokenReviewSpec{Token: "of-nobody"})
		r.review("token reviews", err)
	}
	if r.q.AuthorizationMode == kubeletapi.ModeWebhook {
		_, err := client.ReviewAccess(ctx, authz.SubjectAccessReviewSpec{
			User: authn.UserAnonymous, Groups: []string{authn.GroupUnauthenticated},
			NonResourceAttributes: &authz.NonResourceAttributes{Path: "/readyz", Verb: "get"},
		})
		r.review("access reviews", err)
	}
}

func (r *report) review(check string, err error) {
	var status *kubeclient.StatusError
	hint := ""
	switch {
	case err == nil:
		r.note(check, statusOK, "this server may ask for them", "")
	case errors.As(err, &status) && status.Code == http.StatusForbidden:
		hint = delegator(status.Message)
	case status != nil && status.Code == http.StatusUnauthorized:
		hint = "the API server does not accept the credential in the kubeconfig: has it expired?"
	}
	r.fail(check, err, hint)
}

// delegator is the binding that is missing, for the user whom kube-apiserver
// names as it refuses (k8s.io/apiserver
// pkg/endpoints/handlers/responsewriters/errors.go).
func delegator(refusal string) string {
	_, rest, _ := strings.Cut(refusal, `User "`)
	literal, _ := strconv.QuotedPrefix(`"` + rest)
	user, _ := strconv.Unquote(literal) // which leaves it empty if there is none
	switch user {
	case "":
		return "bind the ClusterRole system:auth-delegator to the user of the kubeconfig (server rbac --user=... prints that)"
	case authn.UserAnonymous:
		return "the kubeconfig has no credential: give it one"
	}
	return "grant it, with kubectl apply -f -:\n\n" + printable(binding(subject{user: user}.named("kubeletauth:auth-delegator"), "system:auth-delegator", subjectOf(user)))
}

// openings looks for what is open that should not be, and for what lets nobody in.
func (r *report) openings() {
	const check, everything, decide, keepOut = "access", "allowed everything: the authorization mode is AlwaysAllow", "--authorization-mode=Webhook has the API server decide", "; --anonymous-auth=false keeps strangers out"
	here := net.ParseIP(r.q.Address).IsLoopback()
	others := r.q.AnonymousAuth || r.q.AuthenticationTokenWebhook
	switch {
	case r.q.ClientCAFile == "" && !others:
		r.note(check, statusFailed, "nobody can get in: anonymous requests, client certificates and bearer tokens are all off", "set --client-ca-file or --authentication-token-webhook")
	case r.q.AuthorizationMode != kubeletapi.ModeAlwaysAllow:
		r.note(check, statusOK, "the API server decides", "")
	case r.q.AnonymousAuth:
		r.note(check, either(here, statusWarning, statusFailed), "everyone "+either(here, "on this machine", "who can connect")+" is "+everything+" and anonymous requests are on", decide+keepOut)
	default:
		r.note(check, statusWarning, "everyone with a good certificate or token is "+everything, decide)
	}
	if r.q.ClientCAFile == "" && others {
		r.note("client CA", statusWarning, "none: client certificates count for nothing, and the API server has no other credential", "--client-ca-file names the authorities whose certificates are accepted")
	}
}

func (r *report) text() string {
	var rows [][]string
	hints := ""
	for _, f := range r.Checks {
		rows = append(rows, []string{f.Status, f.Check, f.Message})
		if hint := ": " + strings.TrimSpace(f.Hint) + "\n"; f.Hint != "" && !strings.Contains(hints, hint) {
			hints += "\n" + f.Check + ", " + f.Status + hint
		}
	}
	return columns(rows...) + hints + r.accessText()
}
