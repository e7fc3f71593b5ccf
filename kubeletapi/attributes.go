package kubeletapi

import (
	"net/http"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// verb and subresource are the values that the mapping can yield, numbered so
// that decisions about them fit a small table.
type (
	verb        uint8
	subresource uint8
)

const (
	verbNone verb = iota // any method without a verb; allowed only by a rule for every verb
	verbCreate
	verbGet
	verbUpdate
	verbPatch
	verbDelete
	verbCount
)

const (
	subProxy subresource = iota
	subStats
	subMetrics
	subLog
	subSpec
	subPods
	subHealthz
	subConfigz
	subCheckpoint
	subStatusz
	subresourceCount
)

func (v verb) String() string {
	return [verbCount]string{"", "create", "get", "update", "patch", "delete"}[v]
}

func (s subresource) String() string {
	return [subresourceCount]string{"proxy", "stats", "metrics", "log", "spec", "pods", "healthz", "configz", "checkpoint", "statusz"}[s]
}

// question is what one request asks for: a place, and after it, if that is not
// allowed and orProxy says so, proxy.
type question struct {
	place
	orProxy bool
}

// newQuestion maps a method and a decoded path, by the page's table or, if
// fineGrained, the kubelet's.
func newQuestion(method, path string, fineGrained bool) question {
	s, orProxy := subresourceOf(path, fineGrained)
	return question{place{verbOf(method), s}, orProxy}
}

func (q question) len() int {
	if q.orProxy {
		return 2
	}
	return 1
}

// at returns what q asks for first, at 0, or second.
func (q question) at(i int) place {
	if i > 0 {
		return place{q.verb, subProxy}
	}
	return q.place
}

// question is what r asks for.
func (a *Auth) question(r *http.Request) question {
	q := newQuestion(r.Method, r.URL.Path, a.FineGrained)
	if a.StrictStreamingVerbs && streams(r) {
		q.verb = verbCreate
	}
	return q
}

// streams reports whether r asks to run something or to leave HTTP, which the
// kubelet allows to whoever may get or create, as the method may be either.
func streams(r *http.Request) bool {
	path := r.URL.Path
	return len(r.Header["Upgrade"]) > 0 || len(r.Header[":protocol"]) > 0 || r.Method == http.MethodConnect ||
		isSubpath(path, "/exec") || isSubpath(path, "/run") || isSubpath(path, "/attach") || isSubpath(path, "/portForward")
}

// verbOf is the page's table, which has a verb for HEAD; the rest is
// GetRequestAttributes of pkg/kubelet/server/auth.go. Methods are case-sensitive.
func verbOf(method string) verb {
	switch method {
	case http.MethodGet, http.MethodHead:
		return verbGet
	case http.MethodPost:
		return verbCreate
	case http.MethodPut:
		return verbUpdate
	case http.MethodPatch:
		return verbPatch
	case http.MethodDelete:
		return verbDelete
	}
	return verbNone
}

// subresourceOf is the table of paths: what a path asks for, and whether it asks for
// proxy if that is not allowed. From checkpoint on, the rows are the kubelet's only.
func subresourceOf(path string, fineGrained bool) (s subresource, orProxy bool) {
	switch {
	case isSubpath(path, "/stats"):
		return subStats, false
	case isSubpath(path, "/metrics"):
		return subMetrics, false
	case isSubpath(path, "/logs"):
		return subLog, false
	case isSubpath(path, "/spec"):
		return subSpec, false
	case !fineGrained:
		return subProxy, false
	case isSubpath(path, "/checkpoint"):
		return subCheckpoint, false
	case isSubpath(path, "/statusz"):
		return subStatusz, false
	case isSubpath(path, "/flagz"):
		return subConfigz, false
	case isSubpath(path, "/pods"), isSubpath(path, "/runningpods"), isSubpath(path, "/allocatedPods"):
		return subPods, true
	case isSubpath(path, "/healthz"):
		return subHealthz, true
	case isSubpath(path, "/configz"):
		return subConfigz, true
	}
	return subProxy, false
}

// isSubpath reports whether path is root, which has no slash at its end, or below
// it: byte by byte, and only at the boundary of a segment (isSubpath of
// pkg/kubelet/server/auth.go).
func isSubpath(path, root string) bool {
	return len(path) >= len(root) && path[:len(root)] == root && (len(path) == len(root) || path[len(root)] == '/')
}

// Attributes returns what user asks for with r, in the order in which it is to
// be decided: the first that is allowed lets the request pass. There is always
// at least one. Of r, only the method and the decoded path matter, and with
// a.StrictStreamingVerbs whether it is an upgrade, unless a.RequestAttributes
// looks at more; the path need not be canonical.
func (a *Auth) Attributes(user *authn.UserInfo, r *http.Request) []authz.Attributes {
	return a.appendAttributes(make([]authz.Attributes, 0, 2), user, r) // inlined, and so on the stack where it can be
}

func (a *Auth) appendAttributes(list []authz.Attributes, user *authn.UserInfo, r *http.Request) []authz.Attributes {
	if a.RequestAttributes != nil {
		own := a.RequestAttributes(r)
		own.User = user
		return append(list, own)
	}
	q := a.question(r)
	for i := range q.len() {
		list = append(list, a.attributes(user, q.at(i), r.URL.Path))
	}
	return list
}

// NonResource is an [Auth.RequestAttributes] for roles with nonResourceURLs: a
// request asks for its path, with the verb that its method has in the kubelet's
// table.
func NonResource(r *http.Request) authz.Attributes {
	return authz.Attributes{Verb: verbOf(r.Method).String(), Path: r.URL.Path}
}

// strictNonResource is NonResource with a.StrictStreamingVerbs.
func strictNonResource(r *http.Request) authz.Attributes {
	attributes := NonResource(r)
	if streams(r) {
		attributes.Verb = verbCreate.String()
	}
	return attributes
}

// attributes are those of GetRequestAttributes in pkg/kubelet/server/auth.go.
func (a *Auth) attributes(user *authn.UserInfo, p place, path string) authz.Attributes {
	return authz.Attributes{
		User:        user,
		Verb:        p.verb.String(),
		APIVersion:  "v1",
		Resource:    "nodes",
		Subresource: p.subresource.String(),
		Name:        a.NodeName,
		Path:        path,
	}
}
