package apiservertest

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

const maxBody = 3 << 20 // MaxRequestBodyBytes of k8s.io/apiserver pkg/server/config.go

// ServeHTTP answers one request: a POST of a review to its path, or a request
// for /version, /readyz, /livez or /healthz, which need no credential. Where
// there is no network, a Server that does not listen can be called directly;
// faults that break a connection then panic with [http.ErrAbortHandler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e, ok := s.endpoints[r.URL.Path]; ok {
		s.serveReview(w, r, e)
		return
	}
	known := s.callers.known(r)
	switch path := r.URL.Path; {
	case !known && r.Header.Get("Authorization") != "":
		s.refuse(w, r, http.StatusUnauthorized)
	case path == "/version":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"major":"1","minor":"37","gitVersion":"v1.37.2","gitCommit":"","gitTreeState":"","buildDate":"",`+
			`"goVersion":%q,"compiler":%q,"platform":"%s/%s"}`+"\n", runtime.Version(), runtime.Compiler, runtime.GOOS, runtime.GOARCH)
	case path == "/readyz" || path == "/livez" || path == "/healthz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "ok")
	case !known:
		s.refuse(w, r, http.StatusUnauthorized)
	default:
		s.refuse(w, r, http.StatusNotFound)
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int) {
	Fault{}.write(w, r, endpoint{}, code, encode(generic(code, endpoint{})))
}

// serveReview reads and notes the question before anything may go wrong with
// the answer. An HTTP/1.1 server notices that its client has left only after it
// read the body.
func (s *Server) serveReview(w http.ResponseWriter, r *http.Request, e endpoint) {
	defer s.journal.begin(e)()
	q, problem := readQuestion(r, e)
	if q != (question{}) {
		s.journal.add(r, e, q)
	}
	fault := s.faults.next(e)
	if !fault.wait(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	if !s.callers.known(r) {
		problem = generic(http.StatusUnauthorized, e)
	}
	if problem != nil {
		fault.write(w, r, e, problem.Code, encode(problem))
		return
	}
	fault.write(w, r, e, http.StatusCreated, s.answer(e, q, fault.Break == BreakContradict))
}

// answer encodes an answer as kube-apiserver does: the question, the status,
// and a newline.
func (s *Server) answer(e endpoint, q question, contradict bool) []byte {
	o := object{typeMeta{e.kind, e.apiVersion()}, map[string]any{}, q.spec(e), nil}
	switch {
	case q.token != nil && contradict:
		o.Status = authn.TokenReviewStatus{Authenticated: true}
	case q.token != nil:
		o.Status = s.tokens.review(*q.token)
	case contradict:
		o.Status = authz.SubjectAccessReviewStatus{Allowed: true, Denied: true}
	default:
		o.Status = s.policy.review(*q.access)
	}
	return encode(o)
}

// readQuestion returns the spec of a well-formed review; what is wrong with
// the request, if anything, stands beside it.
func readQuestion(r *http.Request, e endpoint) (question, *status) {
	if r.Method != http.MethodPost {
		return question{}, generic(http.StatusMethodNotAllowed, e)
	}
	if given := r.Header.Get("Content-Type"); given != "" {
		if mediaType, _, err := mime.ParseMediaType(given); err != nil || mediaType != "application/json" {
			return question{}, failure(http.StatusUnsupportedMediaType, "UnsupportedMediaType",
				"the body of the request was in an unknown format - accepted media types include: application/json")
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return question{}, badRequest("%v", err)
	case len(body) > maxBody:
		return question{}, failure(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			fmt.Sprintf("Request entity too large: limit is %d", maxBody))
	}
	return e.decode(body)
}
