package kubeletapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/kubeclient"
)

// Auth is the filter in front of a node's HTTP API: it lets a request pass if
// it knows who sent it, and if that user may do what the request asks for. The
// package comment says what a path and a method ask for.
//
// [New] makes one from a [Config], with the kubelet's authenticators and
// caches. A literal with an Authenticator and an Authorizer of one's own works
// too, and remembers nothing. The zero Auth refuses everyone. An Auth is safe
// for concurrent use; its fields must not change once it is used.
type Auth struct {
	// NodeName is the name of the node object that every review is about.
	NodeName string

	// Authenticator tells who sent a request. Nil knows nobody, but for the
	// chain of an Auth that New made, which an Authenticator takes the place of.
	Authenticator authn.Authenticator

	// Authorizer decides. Nil allows nothing. What the one that New sets says is
	// remembered, and so it is not told the path.
	Authorizer authz.Authorizer

	// FineGrained asks for the kubelet's subresources of the paths that have
	// one, and then for proxy, in place of the page's table.
	FineGrained bool

	// Logger is told of each refusal: at level info what the client did, at
	// level error what failed here. Nil is slog.Default().
	Logger *slog.Logger

	identities *identities
	memory     *memory
	metrics    *metrics
	client     *kubeclient.Client // that New made
}

// RefusedError is why a request does not pass. What the client may know is in
// Message; the rest is for the log, and holds no token.
type RefusedError struct {
	Code    int    // 400, 401, 403 or 500
	Message string // the body of the answer
	User    string // the user's name, if it is known
	Verb    string // what was asked for, if that was looked at

	// Subresources are those that were asked for in vain.
	Subresources []string
	// Reason is the authorizer's, for the last of them. It may be empty.
	Reason string
	// Err is what went wrong, or nil where nothing did.
	Err error
}

// Error says what the log should: not for the client.
func (e *RefusedError) Error() string {
	text := strings.TrimSuffix(e.Message, "\n")
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *RefusedError) Unwrap() error { return e.Err }

// Check decides on a request: it returns the user if the request may pass, and
// a [*RefusedError] if it may not. It answers nothing and logs nothing, and
// leaves the credential in r unless a.Authenticator removes it.
//
// A path that [Auth.Handler] would redirect is refused with 400, like one that
// can be read in two ways: whoever goes on to serve r serves the path that was
// authorized.
func (a *Auth) Check(r *http.Request) (*authn.UserInfo, error) {
	redirect, err := canonicalPath(r)
	if redirect != "" {
		err = errClean
	}
	if err != nil {
		return nil, badRequest(err)
	}
	user, _, refused := a.check(r)
	if refused != nil {
		return nil, refused
	}
	return user, nil
}

// Handler returns a handler that passes the requests which may pass on to next,
// and answers the others as the kubelet does: 401 "Unauthorized" if it cannot
// tell who asks, 403 "Forbidden (user=...)" if that user may not, 500
// "Authorization error (user=...)" if it could not find out.
//
// A path with doubled slashes or dot segments gets the redirect that
// [http.ServeMux] gives; one with an encoded slash or dot segment, with a
// backslash or with a NUL gets 400. next finds the user with [authn.UserFrom]
// and does not see the token that was accepted.
func (a *Auth) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served := a.metrics.serve(r)
		defer served.done()
		clean, err := canonicalPath(r)
		switch {
		case err != nil:
			a.refuse(w, r, badRequest(err))
			return
		case clean != "":
			redirect(w, r, clean)
			return
		}
		user, found, refused := a.check(r)
		if refused != nil {
			a.refuse(w, r, refused)
			return
		}
		hideCredential(r.Header, found)
		next.ServeHTTP(w, r.WithContext(authn.WithUser(r.Context(), user)))
	})
}

// check is the two questions, in their order.
func (a *Auth) check(r *http.Request) (*authn.UserInfo, credential, *RefusedError) {
	id, found, err := a.identify(r)
	if err != nil || id == nil || id.user == nil || id.user.Username == "" {
		return nil, 0, &RefusedError{Code: http.StatusUnauthorized, Message: "Unauthorized", Err: err}
	}
	q := newQuestion(r.Method, r.URL.Path, a.FineGrained)
	if refused := a.authorize(r, id, q); refused != nil {
		return nil, 0, refused
	}
	return id.user, found, nil
}

func (a *Auth) identify(r *http.Request) (*identity, credential, error) {
	switch {
	case a.Authenticator != nil:
	case a.identities != nil:
		return a.identities.identify(r)
	default:
		return nil, credentialNone, nil
	}
	user, ok, err := a.Authenticator.AuthenticateRequest(r)
	if err != nil || !ok {
		return nil, credentialNone, err
	}
	return &identity{user: user}, credentialNone, nil
}

// authorize asks for one subresource after the other until one is allowed. An
// error ends the search; a denial does not, however explicit it is
// (InstallAuthFilter of pkg/kubelet/server/server.go).
func (a *Auth) authorize(r *http.Request, id *identity, q question) *RefusedError {
	var last decision
	for i, s := range q.subresources[:q.count] {
		d, err := a.decide(r, id, q.verb, s)
		if err != nil {
			return a.refused(id, q, i+1, last, err)
		}
		if d.Decision == authz.DecisionAllow {
			return nil
		}
		last = d
	}
	return a.refused(id, q, int(q.count), last, nil)
}

func (a *Auth) decide(r *http.Request, id *identity, v verb, s subresource) (decision, error) {
	switch {
	case a.Authorizer == nil:
		return decision{}, nil
	case a.memory == nil || id.decisions == nil:
		return a.ask(r.Context(), a.attributes(id.user, v, s, r.URL.Path))
	}
	if d := id.decisions[v][s].inForce(); d != nil {
		return *d, nil
	}
	return a.memory.review(r.Context(), asked{id.decisions, v, s}, func(ctx context.Context) (decision, error) {
		return a.ask(ctx, a.attributes(id.user, v, s, "")) // what is remembered must not depend on the path
	})
}

func (a *Auth) ask(ctx context.Context, attributes authz.Attributes) (decision, error) {
	d, reason, err := a.Authorizer.Authorize(ctx, attributes)
	if err != nil {
		return decision{}, err
	}
	return decision{Decision: d, reason: clip(reason)}, nil
}

// clip bounds what others say, for memory and for the log.
func clip(text string) string {
	const most = 1 << 10
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// refused is the error for a user to whom none of the subresources asked for so
// far was allowed, or about whom asking for the last one failed.
func (a *Auth) refused(id *identity, q question, asked int, last decision, err error) *RefusedError {
	e := &RefusedError{User: id.user.Username, Verb: q.verb.String(), Reason: last.reason, Err: err}
	for _, s := range q.subresources[:asked] {
		e.Subresources = append(e.Subresources, s.String())
	}
	if err != nil {
		e.Code = http.StatusInternalServerError
		e.Message = fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", e.User, e.Verb, e.Subresources[asked-1])
		return e
	}
	e.Code = http.StatusForbidden
	e.Message = fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)\n", e.User, e.Verb, e.Subresources)
	return e
}

func badRequest(err error) *RefusedError {
	return &RefusedError{Code: http.StatusBadRequest, Message: "Bad Request", Err: err}
}

// refuse is the one place where a refusal becomes an answer.
func (a *Auth) refuse(w http.ResponseWriter, r *http.Request, e *RefusedError) {
	a.log(r, e)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(e.Code)
	io.WriteString(w, e.Message)
}

func (a *Auth) log(r *http.Request, e *RefusedError) {
	logger := a.Logger
	if logger == nil {
		logger = slog.Default()
	}
	level, message := slog.LevelInfo, http.StatusText(e.Code)
	switch {
	case e.Code == http.StatusInternalServerError:
		level, message = slog.LevelError, "Authorization error"
	case e.Code == http.StatusUnauthorized && e.Err != nil:
		message = "Unable to authenticate the request due to an error"
		if !authn.IsRefusal(e.Err) {
			level = slog.LevelError
		}
	}
	if r.Context().Err() != nil { // the client went away
		level = slog.LevelInfo
	}
	if !logger.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("remote", r.RemoteAddr), slog.String("method", clip(r.Method)), slog.String("path", clip(r.URL.Path))}
	if e.User != "" {
		attrs = append(attrs, slog.String("user", clip(e.User)), slog.String("verb", e.Verb), slog.Any("subresources", e.Subresources), slog.String("reason", e.Reason))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("err", clip(e.Err.Error())))
	}
	logger.LogAttrs(r.Context(), level, message, attrs...)
}

// redirect sends the client to the clean form of its path, and keeps the query.
func redirect(w http.ResponseWriter, r *http.Request, path string) {
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, path, http.StatusTemporaryRedirect)
}

// hideCredential removes the token that was accepted, so that nothing behind
// the filter can use it or pass it on.
func hideCredential(h http.Header, found credential) {
	switch found {
	case credentialHeader:
		h.Del("Authorization")
	case credentialWebSocket:
		_, others, _ := authn.WebSocketToken(h)
		h.Set(authn.WebSocketProtocolHeader, others)
	}
}

// WriteMetrics writes what a was asked, found and waited for in the Prometheus
// text format. An Auth that New did not make has nothing to write.
func (a *Auth) WriteMetrics(w io.Writer) error { return a.metrics.write(w) }

// Close waits for the reviews that are under way, at most 10 seconds, and lets
// go of the API server. From then on only what is remembered is allowed.
func (a *Auth) Close() {
	if a.identities != nil {
		a.identities.reviews.Close()
	}
	if a.memory != nil {
		a.memory.reviews.Close()
	}
	if a.client != nil {
		a.client.Close()
	}
}
