package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
)

// verbs returns those of the table of methods, in its order.
func verbs() []string { return []string{"get", "create", "update", "patch", "delete"} }

// ask asks whether a user may do each of verbs to what the paths of the API ask
// for first, place by place, until there is no answer.
func ask(ctx context.Context, auth *kubeletapi.Auth, user *authn.UserInfo, verbs ...string) ([]review, error) {
	seen := &witness{Authorizer: auth.Authorizer}
	var places []asked
	for _, path := range []string{"/", "/stats/", "/logs/", "/spec/", "/metrics", "/pods", "/healthz", "/configz", "/checkpoint", "/statusz"} {
		a := auth.Attributes(user, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: http.Header{}})[0]
		if slices.Contains(places, askedFor(a)) {
			continue
		}
		places = append(places, askedFor(a))
		for _, a.Verb = range verbs {
			if _, _, err := seen.Authorize(ctx, a); err != nil {
				return seen.reviews[:len(seen.reviews)-1], err
			}
		}
	}
	return seen.reviews, nil
}

// apiServerUser asks for all verbs on all places, which the API server needs
// (the last section of the kubelet's page).
func (r *report) apiServerUser(ctx context.Context, auth *kubeletapi.Auth) {
	const check = "API server's user"
	if r.q.apiServerUser == "" {
		return
	}
	groups := r.q.groups
	if r.q.user != "" { // whose they are
		groups = nil
	}
	reviews, err := ask(ctx, auth, userOf(r.q.apiServerUser, groups), "*")
	for _, a := range reviews {
		if a.allows() {
			r.note(check, statusOK, joined(a.String(), a.Reason), "")
		} else {
			r.note(check, statusFailed, joined(a.String(), a.Reason), "server rbac --apiserver-user=... prints the role; if it is bound to a group, name that with --group")
		}
	}
	r.fail(check, err, "")
}

// caller finds out who the caller is and what that user may do, until the API
// server gives no answer.
func (r *report) caller(ctx context.Context, auth *kubeletapi.Auth) {
	if r.q.user+r.q.tokenFile+r.q.certFile == "" {
		return
	}
	request, err := r.q.request(http.MethodGet, "/")
	if err == nil {
		r.Caller, err = auth.Check(request.WithContext(ctx))
	}
	if refused, ok := errors.AsType[*kubeletapi.RefusedError](err); ok && refused.User != nil { // what else it says does not count here
		r.Caller, err = refused.User, nil
	}
	if err == nil {
		r.note("caller", either(r.q.ignored() == "", statusOK, statusWarning), r.Caller.Username, r.q.ignored())
		r.Access, err = ask(ctx, auth, r.Caller, verbs()...)
	}
	r.fail("caller", err, r.q.ignored())
}

// accessText is a line for each place, with the decision on each verb, and the
// reasons below.
func (r *report) accessText() string {
	if len(r.Access) == 0 {
		return ""
	}
	rows, reasons := [][]string{append([]string{""}, verbs()...)}, ""
	for row := range slices.Chunk(r.Access, len(verbs())) {
		line := []string{row[0].what()}
		for _, a := range row {
			line = append(line, either(a.allows(), "allowed", "denied"))
			if a.Reason != "" {
				reasons += "\n" + oneLine(joined(a.String(), a.Reason))
			}
		}
		rows = append(rows, line)
	}
	return "\nWhat " + oneLine(r.Caller.Username) + " may do:\n\n" + columns(rows...) + reasons + "\n"
}
