package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
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
	q := newInquiry("check")
	q.flags.StringVar(&q.apiServerUser, "apiserver-user", "", "user that the API server is to this server, who needs to be allowed everything; --group is of this user if there is no --user")
	if _, err := q.parse(args, 0); err != nil {
		return q.end(err, checkHelp, stdout, stderr)
	}
	ctx, cancel := context.WithTimeout(ctx, askingTime)
	defer cancel()
	r := &report{OK: true}
	r.check(ctx, q)
	return q.print(r, r.OK, stdout, stderr)
}

func (r *report) check(ctx context.Context, q *inquiry) {
	var log bytes.Buffer
	client, err := q.client(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	reached := err == nil
	r.add("kubeconfig", statusFailed, err, "")
	defer client.Close()
	switch {
	case !reached:
	case client.Server() == "" && (q.Kubeconfig != "" || q.InCluster):
		r.note("kubeconfig", statusWarning, "is not used: bearer tokens are off, and the authorization mode is AlwaysAllow", "--authentication-token-webhook and --authorization-mode=Webhook use it")
	case client.Server() != "":
		r.note("kubeconfig", statusOK, client.Server(), "")
		for line := range strings.Lines(log.String()) {
			_, text, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			r.note("kubeconfig", statusWarning, text, "")
		}
		if reached = r.apiServer(ctx, client); reached {
			r.reviews(ctx, q, client)
		}
	}
	r.openings(q)
	auth, err := q.auth(client)
	r.add("configuration", statusFailed, err, "")
	if err != nil {
		return
	}
	defer auth.Close()
	r.files(q, auth.NodeName)
	if reached {
		r.apiServerUser(ctx, q, auth)
		r.caller(ctx, q, auth)
	}
}

func (r *report) note(check, status, message, hint string) {
	r.Checks = append(r.Checks, finding{check, status, message, hint})
	r.OK = r.OK && status != statusFailed
}

// add notes an error, if it is one.
func (r *report) add(check, status string, err error, hint string) {
	if err != nil {
		r.note(check, status, err.Error(), hint)
	}
}

// apiServer reports whether there is an API server to ask.
func (r *report) apiServer(ctx context.Context, client *kubeclient.Client) (reached bool) {
	start := time.Now()
	version, date, err := client.Version(ctx)
	middle := start.Add(time.Since(start) / 2)
	switch {
	case err != nil && date.IsZero():
		r.add("API server", statusFailed, err, "")
		return false
	case err != nil: // which may be for others only
		r.add("API server", statusWarning, err, "")
	default:
		r.note("API server", statusOK, version, "")
	}
	skew := date.Add(500 * time.Millisecond).Sub(middle).Round(time.Second) // the date has no fractions
	switch {
	case date.IsZero():
	case skew > mostSkew:
		r.note("clock", statusWarning, "this machine is "+skew.String()+" behind the API server", "set the clock: certificates and tokens count from a time to a time")
	case skew < -mostSkew:
		r.note("clock", statusWarning, "this machine is "+(-skew).String()+" ahead of the API server", "set the clock: certificates and tokens count from a time to a time")
	default:
		r.note("clock", statusOK, "within "+mostSkew.String()+" of the API server's", "")
	}
	return true
}

// reviews asks for a review of each kind that the server asks for.
func (r *report) reviews(ctx context.Context, q *inquiry, client *kubeclient.Client) {
	if q.AuthenticationTokenWebhook {
		_, err := client.ReviewToken(ctx, authn.TokenReviewSpec{Token: "of-nobody"})
		r.review("token reviews", err)
	}
	if q.AuthorizationMode == kubeletapi.ModeWebhook {
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
	r.add(check, statusFailed, err, hint)
}

// delegator is the binding that is missing, for the user whom kube-apiserver
// names as it refuses (k8s.io/apiserver
// pkg/endpoints/handlers/responsewriters/errors.go).
func delegator(refusal string) string {
	match := regexp.MustCompile(`User ("(?:[^"\\]|\\.)*") cannot`).FindStringSubmatch(refusal)
	user := ""
	if match != nil {
		user, _ = strconv.Unquote(match[1])
	}
	switch user {
	case "":
		return "bind the ClusterRole system:auth-delegator to the user of the kubeconfig (server rbac --user=... prints that)"
	case authn.UserAnonymous:
		return "the kubeconfig has no credential: give it one"
	}
	return "grant it, with kubectl apply -f -:\n\n" + printable(binding(named("kubeletauth:auth-delegator", user), "system:auth-delegator", subjectOf(user)))
}

// openings looks for what is open that should not be, and for what lets nobody in.
func (r *report) openings(q *inquiry) {
	const check, everything, hint = "access", "allowed everything: the authorization mode is AlwaysAllow", "--authorization-mode=Webhook has the API server decide"
	all := q.AuthorizationMode == kubeletapi.ModeAlwaysAllow
	switch {
	case !q.AnonymousAuth && q.ClientCAFile == "" && !q.AuthenticationTokenWebhook:
		r.note(check, statusFailed, "nobody can get in: anonymous requests, client certificates and bearer tokens are all off", "set --client-ca-file or --authentication-token-webhook")
	case all && q.AnonymousAuth && net.ParseIP(q.Address).IsLoopback():
		r.note(check, statusWarning, "everyone on this machine is "+everything+" and anonymous requests are on", hint+"; --anonymous-auth=false keeps strangers out")
	case all && q.AnonymousAuth:
		r.note(check, statusFailed, "everyone who can connect is "+everything+" and anonymous requests are on", hint+"; --anonymous-auth=false keeps strangers out")
	case all:
		r.note(check, statusWarning, "everyone with a good certificate or token is "+everything, hint)
	default:
		r.note(check, statusOK, "the API server decides", "")
	}
}

func (r *report) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, f.Check, cell(f.Message))
	}
	w.Flush()
	for i, f := range r.Checks {
		if said := func(before finding) bool { return before.Hint == f.Hint }; f.Hint != "" && !slices.ContainsFunc(r.Checks[:i], said) {
			fmt.Fprintf(&b, "\n%s, %s: %s\n", f.Check, f.Status, strings.TrimSpace(f.Hint))
		}
	}
	return b.String() + r.accessText()
}
