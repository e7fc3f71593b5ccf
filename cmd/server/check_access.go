package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
)

// places returns what a method asks for on the paths of the API: of each path
// what it asks for first.
func places(auth *kubeletapi.Auth, user *authn.UserInfo, method string) (list []authz.Attributes) {
	for _, path := range []string{"/", "/stats/", "/logs/", "/spec/", "/metrics", "/pods", "/healthz", "/configz", "/checkpoint", "/statusz"} {
		a := auth.Attributes(user, &http.Request{Method: method, URL: &url.URL{Path: path}, Header: http.Header{}})[0]
		if !slices.ContainsFunc(list, func(b authz.Attributes) bool { return askedFor(a) == askedFor(b) }) {
			list = append(list, a)
		}
	}
	return list
}

// methods are those with a verb of their own, in the order of the table.
func methods() []string {
	return []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
}

// apiServerUser asks for all verbs on all places, which the API server needs
// (the last section of the kubelet's page).
func (r *report) apiServerUser(ctx context.Context, q *inquiry, auth *kubeletapi.Auth) {
	if q.apiServerUser == "" {
		return
	}
	user := userOf(q.apiServerUser, nil)
	if q.user == "" {
		user = userOf(q.apiServerUser, q.groups)
	}
	for _, a := range places(auth, user, http.MethodGet) {
		a.Verb = "*"
		d, reason, err := auth.Authorizer.Authorize(ctx, a)
		message := strings.Join(nonEmpty(askedFor(a).String(), reason), ": ")
		switch {
		case err != nil:
			r.add("API server's user", statusFailed, err, "")
			return
		case d == authz.DecisionAllow:
			r.note("API server's user", statusOK, message, "")
		default:
			r.note("API server's user", statusFailed, message, "server rbac --apiserver-user=... prints the role; if it is bound to a group, name that with --group")
		}
	}
}

// caller finds out who the caller is and what that user may do, until the API
// server gives no answer.
func (r *report) caller(ctx context.Context, q *inquiry, auth *kubeletapi.Auth) {
	if q.user+q.tokenFile+q.certFile == "" {
		return
	}
	request, err := q.request(ctx, http.MethodGet, "/")
	if err == nil {
		r.Caller, err = auth.Check(request)
	}
	var refused *kubeletapi.RefusedError
	if errors.As(err, &refused) && refused.User != nil { // what else it says does not count here
		r.Caller, err = refused.User, nil
	}
	r.add("caller", statusFailed, err, q.ignored())
	if err != nil {
		return
	}
	r.note("caller", map[bool]string{true: statusOK, false: statusWarning}[q.ignored() == ""], r.Caller.Username, q.ignored())
	for i := range places(auth, r.Caller, http.MethodGet) {
		for _, method := range methods() {
			a := places(auth, r.Caller, method)[i]
			d, reason, err := auth.Authorizer.Authorize(ctx, a)
			if err != nil {
				r.add("caller", statusFailed, err, "")
				return
			}
			r.Access = append(r.Access, review{askedFor(a), d.String(), reason, ""})
		}
	}
}

// accessText is a line for each place, with the decision on each verb, and the
// reasons below.
func (r *report) accessText() string {
	if len(r.Access) == 0 {
		return ""
	}
	var b, reasons strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nWhat %s may do:\n\n\tget\tcreate\tupdate\tpatch\tdelete\n", cell(r.Caller.Username))
	for row := range slices.Chunk(r.Access, len(methods())) {
		fmt.Fprint(w, cell(row[0].what()))
		for _, a := range row {
			fmt.Fprint(w, "\t", map[bool]string{true: "allowed", false: "denied"}[a.Decision == authz.DecisionAllow.String()])
			if a.Reason != "" {
				fmt.Fprintf(&reasons, "\n%s: %s", a, cell(a.Reason))
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String() + reasons.String() + "\n"
}
