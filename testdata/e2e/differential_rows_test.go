package e2e

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// The differences between a kubelet and our server, by the rows of the README's table "Differences from the kubelet".
// A row says which other request the kubelet has to answer in the way in which our server answers this one, so that what
// our server does under a row is as exact as everything else.
const (
	rowHead      = "HEAD"
	rowSpec      = "/spec/*"
	rowUnknown   = "unknown path"
	rowAmbiguous = "encoded slash, dot segment, backslash or NUL in the path; OPTIONS *"
	rowHeader    = "header limit"
	rowConnect   = "CONNECT of a path that is not clean"
)

// rowsBefore are rows about requests that the kubelet need not be asked about.
var rowsBefore = []struct {
	name    string
	applies func(request) bool
	want    outcome
}{
	{rowAmbiguous, request.isAmbiguous, outcome{classAmbiguous, "Bad Request"}},
	{rowConnect, request.isUncleanConnect, outcome{classAmbiguous, "Bad Request"}},
}

// rowsOfTheMux are rows about requests that the kubelet answers before it looks at credentials.
var rowsOfTheMux = []struct {
	name     string
	applies  func(request, outcome) bool
	expected func(context.Context, *differentialPair, request, outcome) (outcome, error)
}{
	{rowSpec, isUnknownSpec, asCheckpoint},
	{rowUnknown, isUncleanSubtree, withoutSlash},
	{rowUnknown, isUnknown, asRegistered},
}

// path is the path of the target as net/http reads it, as it stands and decoded, and whether there is one.
func (r request) path() (escaped, decoded string, ok bool) {
	target := r.target
	if r.method == http.MethodConnect && !strings.HasPrefix(target, "/") {
		target = "http://" + target
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || r.target == "*" {
		return "", "", false
	}
	if escaped, _, _ = strings.Cut(r.target, "?"); !strings.HasPrefix(r.target, "/") {
		escaped = u.EscapedPath()
	}
	return escaped, u.Path, true
}

// isAmbiguous says whether two programs could read the path in two ways.
func (r request) isAmbiguous() bool {
	if r.target == "*" {
		return r.method != http.MethodConnect // which names a host
	}
	escaped, decoded, ok := r.path()
	if !ok {
		return false
	}
	if strings.ContainsAny(decoded, "\\\x00") || strings.Contains(strings.ToLower(escaped), "%2f") {
		return true
	}
	dots := strings.NewReplacer("%2e", ".", "%2E", ".")
	for segment := range strings.SplitSeq(escaped, "/") {
		plain := dots.Replace(segment)
		if plain != segment && (plain == "." || plain == "..") {
			return true
		}
	}
	return false
}

// isUncleanConnect says whether it is a CONNECT with an empty or a dot segment. The kubelet's mux does not clean its path.
func (r request) isUncleanConnect() bool {
	escaped, _, ok := r.path()
	return ok && r.method == http.MethodConnect && strings.HasPrefix(escaped, "/") && !isClean(escaped)
}

// isUnknown says whether the kubelet's mux answered: it knows nothing there, or only what is below.
func isUnknown(r request, kubelet outcome) bool {
	escaped, _, ok := r.path()
	switch kubelet.class {
	case classNotFound:
		return true
	case classMalformed: // its mux refuses this target whatever the method
		return r.method == http.MethodConnect && r.target == "*"
	case classRedirect:
		location, _, _ := strings.Cut(kubelet.text, "?")
		return ok && escaped != "" && location == escaped+"/" && isClean(escaped)
	}
	return false
}

// isClean says whether a path has no empty and no dot segments.
func isClean(path string) bool {
	return !strings.Contains(path, "//") && !strings.Contains(path+"/", "/./") && !strings.Contains(path+"/", "/../")
}

// isUncleanSubtree says whether the kubelet's mux cleaned the path and, as it knows only what is below the clean one,
// also added a slash.
func isUncleanSubtree(r request, kubelet outcome) bool {
	escaped, _, ok := r.path()
	location, _, _ := strings.Cut(kubelet.text, "?")
	return ok && kubelet.class == classRedirect && !isClean(escaped) && !strings.HasSuffix(escaped, "/") &&
		strings.HasSuffix(location, "/") && location != "/"
}

// withoutSlash is the redirect to the clean path alone.
func withoutSlash(_ context.Context, _ *differentialPair, _ request, kubelet outcome) (outcome, error) {
	location, query, found := strings.Cut(kubelet.text, "?")
	kubelet.text = strings.TrimSuffix(location, "/")
	if found {
		kubelet.text += "?" + query
	}
	return kubelet, nil
}

// isUnknownSpec is isUnknown for the paths of rowSpec.
func isUnknownSpec(r request, kubelet outcome) bool {
	_, decoded, _ := r.path()
	return isUnknown(r, kubelet) && firstSegment(decoded) == "spec"
}

// asRegistered asks the kubelet for a path that it has registered and that stands for the same subresource.
func asRegistered(ctx context.Context, d *differentialPair, r request, _ outcome) (outcome, error) {
	_, decoded, _ := r.path()
	r.target = "/exec/ns/pod/ctr"
	if target, ok := registeredByFirstSegment[firstSegment(decoded)]; ok {
		r.target = target
	}
	return d.kubelet.ask(ctx, r)
}

// registeredByFirstSegment are paths that the kubelet has registered, for those with a subresource of their own.
var registeredByFirstSegment = map[string]string{
	"stats": "/stats/summary", "metrics": "/metrics/probes", "logs": "/logs/none", "checkpoint": "/checkpoint/ns/pod/ctr",
	"statusz": "/statusz", "flagz": "/flagz", "pods": "/pods", "runningpods": "/runningpods/", "allocatedPods": "/allocatedPods",
	"healthz": "/healthz/ping", "configz": "/configz",
}

// asCheckpoint asks the kubelet for something that everyone may do who may do the same with spec.
func asCheckpoint(ctx context.Context, d *differentialPair, r request, _ outcome) (outcome, error) {
	r.target = registeredByFirstSegment["checkpoint"]
	want, err := d.kubelet.ask(ctx, r)
	want.text = strings.Replace(want.text, "[checkpoint]", "[spec]", 1)
	return want, err
}

// protocolPrefix is how a WebSocket protocol begins that is a token.
const protocolPrefix = "base64url.bearer.authorization.k8s.io."

// protocolToken finds such protocols.
var protocolToken = regexp.MustCompile(regexp.QuoteMeta(protocolPrefix) + "[A-Za-z0-9_-]+")

// withoutSpaces has, in place of WebSocket tokens with white space or control characters, one that nobody accepts: of
// those, an API server takes the part before the space for the token. In a header, such a token cannot be.
func (r request) withoutSpaces() (changed request, found bool) {
	changed = r
	changed.lines = nil
	for _, line := range r.lines {
		changed.lines = append(changed.lines, protocolToken.ReplaceAllStringFunc(line, func(protocol string) string {
			token, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(protocol, protocolPrefix))
			if err != nil || !strings.ContainsAny(string(token), " \n\x00") {
				return protocol
			}
			found = true
			return protocolPrefix + base64.RawURLEncoding.EncodeToString([]byte("rubbish"))
		}))
	}
	return changed, found
}

// firstSegment is the first segment of a decoded path.
func firstSegment(path string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return segment
}

// showRows shows what the README says of the kubelet in each row, and of our server beside it.
func (d *differentialPair) showRows(t *testing.T) {
	t.Helper()
	certificates := map[string]certificate{}
	for _, each := range d.callers.certificates {
		certificates[each.name] = each
	}
	for _, row := range []struct {
		name, method, target, caller string

		kubelet, ours class
	}{
		{rowHead, "HEAD", "/stats/summary", "stats", classForbidden, classAllowed},
		{rowSpec, "GET", "/spec", "all", classNotFound, classAllowed},
		{rowSpec, "GET", "/spec/x", "foreign", classNotFound, classUnauthorized},
		{rowUnknown, "GET", "/nothing", "foreign", classNotFound, classUnauthorized},
		{rowUnknown, "GET", "/nothing", "stats", classNotFound, classForbidden},
		{rowUnknown, "GET", "/stats", "foreign", classRedirect, classUnauthorized},
		{rowUnreviewed, "DELETE", "/pods", "none", classForbidden, classUnauthorized},
		{rowHeader, "GET", "/metrics/probes?" + strings.Repeat("x", 100<<10), "foreign", classUnauthorized, classMalformed},
		{rowAmbiguous, "GET", "/stats/..%2Fexec/ns/pod/ctr", "all", classAllowed, classAmbiguous},
		{rowAmbiguous, "OPTIONS", "*", "foreign", classAllowed, classAmbiguous}, // net/http answers it by itself
		{rowConnect, "CONNECT", "/exec/../pods", "stats", classForbidden, classAmbiguous},
	} {
		r := request{method: row.method, target: row.target, certificate: certificates[row.caller]}
		if row.name == rowUnreviewed {
			encoded := base64.RawURLEncoding.EncodeToString([]byte(d.callers.tokens[anyValidToken] + " x"))
			r.lines = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v4.channel.k8s.io, " + protocolPrefix + encoded}
		}
		for _, side := range []struct {
			of   *endpoint
			want class
		}{{d.kubelet, row.kubelet}, {d.ours, row.ours}} {
			got, err := side.of.ask(t.Context(), r)
			if err != nil || got.class != side.want {
				t.Errorf("row %q: %s %.100s by %s at %s: %v (%v), want %s", row.name, row.method, row.target, row.caller, side.of.name, got, err, side.want)
			}
		}
	}
}
