package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
)

const explainHelp = `Usage: server explain [flags] METHOD PATH

Says what the server would answer to a request, and why: who the caller is, what
is asked for, each review with its decision and reason, and the smallest role
that would let the request pass. Without a flag that names a caller, no credential
is sent. The API server named by the flags is asked; nothing is served.

It exits with 0 if the request may pass, with 1 if it may not or if that cannot
be found out, and with 2 for a mistake in the flags.

Flags:
`

// explanation is the answer of server explain.
type explanation struct {
	Allowed  bool            `json:"allowed"`
	Status   int             `json:"status"`             // of HTTP; 200 stands for what the handler answers
	Location string          `json:"location,omitempty"` // of a redirect
	Reason   string          `json:"reason,omitempty"`
	Note     string          `json:"note,omitempty"`
	User     *authn.UserInfo `json:"user,omitempty"`
	Asks     []asked         `json:"asks,omitempty"`    // in the order in which they are decided
	Reviews  []review        `json:"reviews,omitempty"` // those that were made
	Grant    string          `json:"grant,omitempty"`   // YAML to apply
}

// asked is what a request asks for.
type asked kubeletapi.EventAttributes

// review is what an authorizer said.
type review struct {
	asked
	Decision string `json:"decision"` // allow, deny or no opinion; none with an error
	Reason   string `json:"reason,omitempty"`
	Error    string `json:"error,omitempty"`
}

func explainCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	q := &inquiry{name: "explain", help: explainHelp}
	return q.run(ctx, func(ctx context.Context) (answer, error) { return explain(ctx, q, args) }, stdout, stderr)
}

func (e *explanation) good() bool { return e.Allowed }

// explain has the server's own filter decide on a request.
func explain(ctx context.Context, q *inquiry, args []string) (answer, error) {
	operands, err := q.parse(args, 2)
	if err != nil {
		return nil, err
	}
	r, err := q.request(operands[0], operands[1])
	if err != nil {
		return nil, err
	}
	client, err := q.client(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	auth, err := q.auth(client)
	if err != nil {
		return nil, err
	}
	seen := &witness{Authorizer: auth.Authorizer}
	if auth.Authorizer != (authz.AlwaysAllow{}) {
		auth.Authorizer = seen
	}
	r = r.WithContext(ctx)
	user, err := auth.Check(r)
	auth.Close() // no review is under way any more
	e := &explanation{Allowed: err == nil, Status: http.StatusOK, Note: q.ignored(), User: user, Reviews: seen.reviews}
	e.complete(auth, r, err)
	return e, nil
}

// complete adds what follows from the filter's decision.
func (e *explanation) complete(auth *kubeletapi.Auth, r *http.Request, err error) {
	var refused *kubeletapi.RefusedError
	if errors.As(err, &refused) {
		e.Status, e.User, e.Reason = refused.Code, refused.User, refused.Error()
	}
	switch {
	case e.Status == http.StatusBadRequest: // which may be a redirect
		answer := &headOnly{header: http.Header{}}
		auth.Handler(http.NotFoundHandler()).ServeHTTP(answer, r)
		e.Status, e.Location, e.Reason = answer.status, answer.header.Get("Location"), refused.Err.Error()
	case e.Status == http.StatusUnauthorized && refused.Err == nil:
		e.Reason = "no credential that counts, and anonymous requests are off (--user, --token-file and --cert-file name a caller)"
	case e.Allowed && len(e.Reviews) == 0:
		e.Reason = "the authorization mode is AlwaysAllow, and nobody is asked"
	}
	if e.User == nil {
		return
	}
	for _, a := range auth.Attributes(e.User, r) {
		e.Asks = append(e.Asks, askedFor(a))
	}
	switch denies := func(r review) bool { return r.Decision == authz.DecisionDeny.String() }; {
	case e.Status != http.StatusForbidden:
	case slices.ContainsFunc(e.Reviews, denies):
		e.Note = "something denies it, so that no role would allow it"
	default:
		e.Grant = grant(e.User.Username, e.Asks[0])
	}
}

// headOnly is an http.ResponseWriter that keeps the head of an answer.
type headOnly struct {
	status int
	header http.Header
}

func (h *headOnly) Header() http.Header         { return h.header }
func (h *headOnly) WriteHeader(status int)      { h.status = status }
func (h *headOnly) Write(b []byte) (int, error) { return len(b), nil }

// witness notes what an authorizer says.
type witness struct {
	authz.Authorizer
	reviews []review // not to be read before all have ended
}

func (w *witness) Authorize(ctx context.Context, a authz.Attributes) (authz.Decision, string, error) {
	d, reason, err := w.Authorizer.Authorize(ctx, a)
	seen := review{askedFor(a), d.String(), reason, ""}
	if err != nil {
		seen.Decision, seen.Error = "none", err.Error()
	}
	w.reviews = append(w.reviews, seen)
	return d, reason, err
}

func (r review) allows() bool { return r.Decision == authz.DecisionAllow.String() }

func askedFor(a authz.Attributes) asked {
	if a.Resource != "" {
		a.Path = ""
	}
	return asked{a.Verb, a.Resource, a.Subresource, a.Name, a.Path}
}

// what is the resource as a role names it, or the path.
func (a asked) what() string {
	return either(a.Resource == "", a.Path, a.Resource+"/"+a.Subresource)
}

func (a asked) String() string {
	return cmp.Or(a.Verb, "(no verb)") + " " + a.what() + either(a.Name == "", "", " of "+a.Name)
}

func (e *explanation) text() string {
	var rows [][]string
	row := func(name string, values ...string) {
		if value := joined(values...); value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	row("answer", either(e.Allowed, "passes", fmt.Sprint(e.Status, " ", http.StatusText(e.Status))), e.Location)
	row("reason", e.Reason)
	row("note", e.Note)
	if e.User != nil {
		row("user", e.User.Username)
		row("groups", strings.Join(e.User.Groups, ", "))
	}
	for _, a := range e.Asks {
		row("asks for", a.String())
	}
	for _, r := range e.Reviews {
		row("review", r.String(), r.Decision, r.Reason, r.Error)
	}
	return columns(rows...) + either(e.Grant == "", "", "\nThe smallest grant that would allow it, for kubectl apply -f -:\n\n"+e.Grant)
}

// grant is the smallest ClusterRole that allows a user what is asked for, on this
// node alone, and its binding.
func grant(user string, a asked) string {
	a.Verb = cmp.Or(a.Verb, "*") // a method without a verb is allowed by a rule for every verb
	if strings.HasSuffix(a.Path, "*") {
		return "# No role is as small as that: a star at the end of a path stands for all below it.\n"
	}
	name := named("kubeletauth:explain", user, a.String())
	rule := "- nonResourceURLs: [" + quoted(a.Path) + "]\n"
	if a.Resource != "" {
		rule = "- apiGroups: [\"\"]\n  resources: [" + quoted(a.what()) + "]\n  resourceNames: [" + quoted(a.Name) + "]\n"
	}
	return printable(head("ClusterRole", name) + "rules:\n" + rule + "  verbs: [" + quoted(a.Verb) + "]\n---\n" + binding(name, name, subjectOf(user)))
}

// named makes a name for a role and its binding that no other one has, so that
// applying them takes nothing from anybody.
func named(prefix string, parts ...string) string {
	return fmt.Sprintf("%s-%x", prefix, sha256.Sum256([]byte(strings.Join(parts, "\x00"))))[:len(prefix)+9]
}

// subjectOf is the subject of a binding that means a user.
func subjectOf(user string) string {
	if user == authn.UserAnonymous {
		return "- apiGroup: rbac.authorization.k8s.io\n  kind: Group\n  name: " + quoted(authn.GroupUnauthenticated) + "\n"
	}
	return subjectFrom(user).yaml()
}
