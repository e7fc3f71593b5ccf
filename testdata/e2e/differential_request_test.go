package e2e

import (
	"fmt"
	"strings"

	"kubeletauth/testdata/e2e/internal/generate"
)

// request is a request as it is written, byte by byte.
type request struct {
	method, target string // as in "GET /pods HTTP/1.1"
	lines          []string
	certificate    certificate
}

// raw is the text of the request. There is never a body.
func (r request) raw() string {
	lines := append([]string{r.method + " " + r.target + " HTTP/1.1", "Host: node", "Content-Length: 0"}, r.lines...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func (r request) String() string {
	text := fmt.Sprintf("certificate %s, %q", r.certificate.name, r.raw())
	const enough = 3000
	return text[:min(len(text), enough)]
}

// request makes one that is not too long for either side: see rowHeader.
func (u *callers) request(s *generate.Source) request {
	const most = 60 << 10
	for {
		if r := u.anyRequest(s); len(r.raw()) < most {
			return r
		}
	}
}

// anyRequest makes one.
func (u *callers) anyRequest(s *generate.Source) request {
	r := request{method: differentialMethod(s), target: differentialTarget(s), certificate: u.certificate(s)}
	r.lines = u.authorization(s)
	if s.Chance(4) {
		r.lines = append(r.lines, u.webSocket(s)...)
	}
	if s.Chance(8) {
		r.lines = append(r.lines, generate.Pick(s, "X-Remote-User: diff-all", "Impersonate-User: diff-all", "X-Forwarded-For: 127.0.0.1",
			"X-HTTP-Method-Override: GET", "X-Original-URL: /healthz", "Accept: application/json"))
	}
	return r
}

// differentialMethod is a method, mostly one that means something. GET is the most frequent.
func differentialMethod(s *generate.Source) string {
	if s.Chance(2) {
		return "GET"
	}
	return generate.Pick(s, "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "Get", "head", "post",
		"LIST", "PROPFIND", "GETX", "G-ET", "!")
}

// differentialTarget is what stands behind the method.
func differentialTarget(s *generate.Source) string {
	if s.Chance(40) {
		return generate.Pick(s, "*", "", "pods", "//", "https://node/pods", "https://other:1/stats/summary", "http:///metrics", "node:10250", "/%", "/%zz", "?x", "#")
	}
	path := registeredPath(s)
	if s.Chance(2) {
		path = bend(s, path)
	}
	return path + generate.Pick(s, "", "", "", "?", "?a=/exec", "?a=%2e%2e/x&b")
}

// bend makes an odd path of an ordinary one.
func bend(s *generate.Source, path string) string {
	segments := strings.Split(path, "/")
	at := 1 + s.IntN(len(segments)-1)
	rest := strings.Join(segments[at:], "/")
	before := strings.Join(segments[:at], "/")
	switch s.IntN(12) {
	case 0:
		return path + "/"
	case 1:
		return before + "//" + rest
	case 2:
		return before + "/./" + rest
	case 3:
		return before + "/x/../" + rest
	case 4:
		return "/stats/.." + path
	case 5:
		return before + generate.Pick(s, "/%2e%2e/", "/%2E/", "%2f", "/x%2f..%2f", "%5c", "/%00", "\\", "/.%2e/") + rest
	case 6:
		return s.MixCase(path)
	case 7:
		return path + generate.Pick(s, "x", "%20", "%3f", ";a=b", "é", "%C3%A9", "%ff", "+", ":", "@", "/..", "/.", "//", "/summary")
	case 8:
		return percent(s, path)
	case 9:
		return "/" + path
	case 10:
		return path[:len(path)-1]
	}
	return "/" + generate.Pick(s, "spec", "spec/", "spec/a", "spec/..", "livez", "readyz", "", "api", "stats", "logs", "run", "..", "debug", "cri/exec")
}

// percent encodes one letter of a path that need not be encoded.
func percent(s *generate.Source, path string) string {
	at := 1 + s.IntN(len(path)-1)
	if path[at] == '/' {
		return path
	}
	return fmt.Sprintf("%s%%%02x%s", path[:at], path[at], path[at+1:])
}

// registeredPath is a path that the kubelet has a handler for.
func registeredPath(s *generate.Source) string {
	return generate.Pick(s, "/pods", "/pods/", "/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop", "/configz",
		"/statusz", "/flagz", "/stats/", "/stats/summary", "/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes",
		"/metrics/slis", "/logs/", "/logs/none", "/runningpods/", "/allocatedPods", "/allocatedPods/ns/pod", "/checkpoint/ns/pod/ctr",
		"/run/ns/pod/ctr", "/exec/ns/pod/ctr", "/exec/ns/pod/uid/ctr", "/attach/ns/pod/ctr", "/portForward/ns/pod",
		"/containerLogs/ns/pod/ctr", "/debug/pprof/cmdline", "/debug/flags/v")
}
