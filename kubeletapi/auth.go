package kubeletapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/cleanpath"
	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/reload"
	"kubeletauth/kubeletapi/internal/tlsconfig"
	"kubeletauth/kubeletapi/internal/ttlcache"
	"kubeletauth/kubeletapi/kubeclient"
)

// Auth is the filter in front of a node's HTTP API: it lets a request pass if
// it knows who sent it, and if that user may do what the request asks for. The
// package comment says what a path and a method ask for.
//
// [New] makes one from a [Config], with the kubelet's authenticators and
// caches. A literal with an Authenticator and an Authorizer of one's own works
// too, and remembers nothing. The zero Auth refuses everyone. An Auth is safe
// for concurrent use; once it is used, its fields must not change, and it must
// not be copied.
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

	// StrictStreamingVerbs asks for create, whatever the method, where a request
	// would run something or leave HTTP: below /exec, /run, /attach and
	// /portForward, and for CONNECT and upgrades. Without it, as in the kubelet, whoever
	// may get may run commands over a WebSocket. It does not count where
	// RequestAttributes is set.
	StrictStreamingVerbs bool

	// RequestAttributes, if set, tells what a request asks for in place of the
	// kubelet's table; the user is added to it. It sees each request that somebody
	// sent, unless the Authorizer is AlwaysAllow, at the same time as others, and must
	// not change it. NonResource is one.
	RequestAttributes func(r *http.Request) authz.Attributes

	// EventLogger, if set, is told of each request to Handler, and each answer has an
	// Audit-Id.
	EventLogger EventLogger

	// Logger is told of each refusal: at level info what the client did, at
	// level error what failed here. Nil is slog.Default().
	Logger *slog.Logger

	clock      ttlcache.Clock
	identities *identities
	memory     *memory
	strangers  *fair.Gate // for reviews of what somebody wants who showed no credential
	insiders   *fair.Gate // for those of attributes that a known user may choose freely
	metrics    metrics
	client     *kubeclient.Client // that New made
	asksAccess bool               // the client is asked for access too
	clientCA   *reload.Value[*tlsconfig.Bundle]
	lastReview probe
}

// RefusedError is why a request does not pass. What the client may know is in
// Message; the rest is for the log, and holds no token.
type RefusedError struct {
	Code    int             // 400, 401, 403, 429 or 500
	Message string          // the body of the answer
	User    *authn.UserInfo // who asks, if that is known

	// Attributes are those that were asked for in vain, in that order.
	Attributes []authz.Attributes
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
// authorized. Where a.Handler reads a clock, Check goes by the timers of the
// runtime: in a process that was stopped and goes on, it may repeat for some
// milliseconds what has expired meanwhile.
func (a *Auth) Check(r *http.Request) (*authn.UserInfo, error) {
	redirect, err := cleanpath.Redirect(r)
	if redirect != "" {
		err = cleanpath.ErrUnclean
	}
	if err != nil {
		return nil, badRequest(err)
	}
	user, _, refused := a.check(r, a.clock.Horizon())
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
// backslash or with a NUL gets 400. The request that passes is changed in place,
// and not copied: next, which must not be nil, finds the user with [authn.UserFrom]
// and does not see the token that was accepted.
func (a *Auth) Handler(next http.Handler) http.Handler {
	return &guard{a, next}
}

// guard is an Auth in front of a handler.
type guard struct {
	*Auth
	next http.Handler
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := g.metrics.requests.Begin(r.Method, r.URL.Path)
	defer request.End()
	h := g.clock.HorizonAt(request.Start)
	if g.EventLogger != nil {
		g.serveLogged(w, r, h, g.next)
		return
	}
	if user, _ := g.pass(w, r, h); user != nil {
		g.next.ServeHTTP(w, r)
	}
}

// pass answers r unless it may pass. If it may, it returns the user, and r is
// ready for the next handler.
func (a *Auth) pass(w http.ResponseWriter, r *http.Request, h *ttlcache.Horizon) (*authn.UserInfo, *RefusedError) {
	clean, err := cleanpath.Redirect(r)
	if clean != "" {
		if r.ProtoMajor == 2 { // who asks is not known yet: as in refuse
			w.Header().Set("Connection", "close")
		}
		http.Redirect(w, r, clean, http.StatusTemporaryRedirect)
		return nil, nil
	}
	if err != nil {
		return nil, a.refuse(w, r, badRequest(err))
	}
	user, found, refused := a.check(r, h)
	if refused != nil {
		return nil, a.refuse(w, r, refused)
	}
	admit(r, user, found)
	return user, nil
}

// admit makes r what the next handler gets to see.
func admit(r *http.Request, user *authn.UserInfo, found credential) {
	hideCredential(r.Header, found)
	*r = *r.WithContext(authn.WithUser(r.Context(), user)) // one small allocation
}

// check is the two questions, in their order.
func (a *Auth) check(r *http.Request, h *ttlcache.Horizon) (*authn.UserInfo, credential, *RefusedError) {
	id, found, err := a.identify(r, h)
	if a.EventLogger != nil {
		traceOf(r.Context()).identify(id, found)
	}
	if err != nil && errors.Is(err, fair.ErrBusy) {
		return nil, 0, &RefusedError{Code: http.StatusTooManyRequests, Message: "Too Many Requests", Err: err}
	}
	if err != nil || id == nil || id.user == nil || id.user.Username == "" {
		return nil, 0, &RefusedError{Code: http.StatusUnauthorized, Message: "Unauthorized", Err: err}
	}
	if _, ok := a.Authorizer.(authz.AlwaysAllow); ok {
		return id.user, found, nil
	}
	if a.RequestAttributes != nil {
		return id.user, found, a.authorizeOwn(r, id, h)
	}
	return id.user, found, a.authorize(r, id, h)
}

func (a *Auth) identify(r *http.Request, h *ttlcache.Horizon) (*identity, credential, error) {
	switch {
	case a.Authenticator != nil:
	case a.identities != nil:
		return a.identities.identify(r, h)
	default:
		return nil, credentialNone, nil
	}
	user, ok, err := a.Authenticator.AuthenticateRequest(r)
	if err != nil || !ok {
		return nil, credentialNone, err
	}
	connectionOf(r.Context()).Vouch()
	return &identity{user: user}, credentialNone, nil
}

// authorize asks for one subresource after the other until one is allowed. An
// error ends the search; a denial does not, however explicit it is
// (InstallAuthFilter of pkg/kubelet/server/server.go).
func (a *Auth) authorize(r *http.Request, id *identity, h *ttlcache.Horizon) *RefusedError {
	q, reason := a.question(r), ""
	for i := range q.len() {
		p := q.at(i)
		d, err := a.decide(r, id, p, h)
		if a.EventLogger != nil {
			a.trace(r, id, p, d)
		}
		switch {
		case err != nil:
			return refused(a.appendAttributes(nil, id.user, r)[:i+1], reason, err)
		case d.allowed:
			return nil
		}
		reason = d.reason()
	}
	return refused(a.appendAttributes(nil, id.user, r), reason, nil)
}

func (a *Auth) decide(r *http.Request, id *identity, p place, h *ttlcache.Horizon) (*decision, error) {
	if id.decisions != nil {
		if d := id.decisions.get(p); d != nil && d.fresh(h) {
			a.metrics.decisionsKnown.Inc()
			return d, nil
		}
	}
	return a.review(r, id, p)
}

// review is decide for what is not known, apart for its variables: a stack that has
// to grow for them costs more than a decision.
func (a *Auth) review(r *http.Request, id *identity, p place) (*decision, error) {
	if id.decisions == nil {
		return a.ask(r.Context(), a.attributes(id.user, p, r.URL.Path))
	}
	attributes := a.attributes(id.user, p, "") // what is remembered must not depend on the path
	ask, from := func(ctx context.Context) (*decision, error) { return a.ask(ctx, attributes) }, ""
	if a.identities.isAnonymous(id) {
		ask, from = a.inTurn(r, id, id.decisions.get(p), attributes)
	}
	return a.memory.decide(r.Context(), asked{about: id.decisions, place: p}, from, ask)
}

// authorizeOwn asks for the attributes of RequestAttributes.
func (a *Auth) authorizeOwn(r *http.Request, id *identity, h *ttlcache.Horizon) *RefusedError {
	attributes := a.RequestAttributes(r)
	attributes.User = id.user
	d, err := a.decideOwn(r, id, &attributes, h)
	if a.EventLogger != nil {
		traceOf(r.Context()).decide(attributes, d)
	}
	switch {
	case err != nil:
		return refused([]authz.Attributes{attributes}, "", err)
	case d.allowed:
		return nil
	}
	return refused([]authz.Attributes{attributes}, d.reason(), nil)
}

func (a *Auth) decideOwn(r *http.Request, id *identity, attributes *authz.Attributes, h *ttlcache.Horizon) (*decision, error) {
	q, ok := askedOwn(id.decisions, attributes)
	if a.memory == nil || !ok {
		ask, _ := a.inTurn(r, id, nil, *attributes)
		return ask(r.Context())
	}
	before := a.memory.known(&q, h.Before)
	if before != nil && before.fresh(h) {
		a.metrics.decisionsKnown.Inc()
		return before, nil
	}
	ask, from := a.inTurn(r, id, before, *attributes)
	return a.memory.decide(r.Context(), q, from, ask)
}

// inTurn returns a function that asks when it is the turn of whoever sent r, or
// at once if that was allowed before; and where from, if that is a stranger.
func (a *Auth) inTurn(r *http.Request, id *identity, before *decision, attributes authz.Attributes) (ask func(context.Context) (*decision, error), from string) {
	gate, source := a.insiders, fair.Source{Host: clip(id.user.Username)}
	switch {
	case before != nil && before.allowed && !before.ended():
		gate = nil
	case a.identities.isAnonymous(id):
		gate, source, from = a.strangers, a.identities.source(r), fair.Host(r.RemoteAddr)
	}
	return func(ctx context.Context) (d *decision, err error) {
		busy := gate.Do(ctx, source, func() fair.Outcome {
			d, err = a.ask(ctx, attributes)
			return outcome(d != nil && d.allowed, err)
		})
		return d, cmp.Or(busy, err)
	}, from
}

func (a *Auth) ask(ctx context.Context, attributes authz.Attributes) (*decision, error) {
	if a.Authorizer == nil {
		return newDecision(false, ""), nil
	}
	d, reason, err := a.Authorizer.Authorize(ctx, attributes)
	if err != nil {
		return nil, err
	}
	return newDecision(d == authz.DecisionAllow, clip(reason)), nil
}

// clip bounds what others say, for memory and for the log.
func clip(text string) string {
	const most = 1 << 10
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// refused is the error for a user to whom none of what was asked for so far was
// allowed, or about whom asking for the last of it failed.
func refused(asked []authz.Attributes, reason string, err error) *RefusedError {
	last := asked[len(asked)-1]
	e := &RefusedError{Code: http.StatusForbidden, User: last.User, Attributes: asked, Reason: reason, Err: err}
	what := fmt.Sprintf("user=%s, verb=%s", last.User.Username, last.Verb)
	switch {
	case last.Resource == "":
		what += fmt.Sprintf(", path=%q", clip(last.Path))
	case err != nil:
		what += fmt.Sprintf(", resource=%s, subresource=%s", last.Resource, last.Subresource)
	default:
		what += fmt.Sprintf(", resource=%s, subresource(s)=%v", last.Resource, subresources(asked))
	}
	e.Message = "Forbidden (" + what + ")\n"
	switch {
	case errors.Is(err, fair.ErrBusy):
		e.Code, e.Message = http.StatusTooManyRequests, "Too Many Requests"
	case err != nil:
		e.Code, e.Message = http.StatusInternalServerError, "Authorization error ("+what+")"
	}
	return e
}

func subresources(asked []authz.Attributes) (list []string) {
	for _, a := range asked {
		list = append(list, a.Subresource)
	}
	return list
}

func badRequest(err error) *RefusedError {
	return &RefusedError{Code: http.StatusBadRequest, Message: "Bad Request", Err: err}
}

// refuse is the one place where a refusal becomes an answer.
func (a *Auth) refuse(w http.ResponseWriter, r *http.Request, e *RefusedError) *RefusedError {
	a.log(r, e)
	a.metrics.refused.With(strconv.Itoa(e.Code)).Inc()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if e.Code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	if r.ProtoMajor == 2 && (e.User == nil || e.User.Username == authn.UserAnonymous) {
		w.Header().Set("Connection", "close") // a stranger gets one request of a connection that could carry any number
	}
	w.WriteHeader(e.Code)
	io.WriteString(w, e.Message)
	return e
}

func (a *Auth) log(r *http.Request, e *RefusedError) {
	logger := cmp.Or(a.Logger, slog.Default())
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
	path := r.URL.Path
	if e.Code == http.StatusBadRequest { // what is wrong with it does not show when it is decoded
		path = r.URL.EscapedPath()
	}
	attrs := []slog.Attr{slog.String("remote", r.RemoteAddr), slog.String("method", clip(r.Method)), slog.String("path", clip(path))}
	if e.User != nil {
		attrs = append(attrs, slog.String("user", clip(e.User.Username)), slog.String("verb", e.Attributes[0].Verb), slog.Any("subresources", subresources(e.Attributes)), slog.String("reason", e.Reason))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("err", clip(e.Err.Error())))
	}
	logger.LogAttrs(r.Context(), level, message, attrs...)
}

// survive is deferred where net/http does not recover a panic of the EventLogger.
func (a *Auth) survive() {
	if p := recover(); p != nil {
		a.metrics.dropped.Inc()
		cmp.Or(a.Logger, slog.Default()).Error("The EventLogger panicked", "panic", clip(fmt.Sprint(p)))
	}
}

// hideCredential removes the token that was accepted, so that nothing behind
// the filter can use it or pass it on.
func hideCredential(h http.Header, found credential) {
	switch found {
	case credentialHeader:
		delete(h, "Authorization")
	case credentialWebSocket:
	default:
		return
	}
	if token, others, _ := authn.WebSocketToken(h); token != "" { // the same one may be there too
		h.Set(authn.WebSocketProtocolHeader, others)
	}
}

// WriteMetrics writes what a was asked, found and waited for in the Prometheus
// text format. An Auth that New did not make has nothing to write.
func (a *Auth) WriteMetrics(w io.Writer) error {
	_, err := a.metrics.registry.WriteTo(w)
	return err
}

// Close ends the reviews that are under way, waits for that, and lets go of the
// API server. From then on only what is remembered is allowed. Call it when
// nobody waits for an answer, such as after [Server.Serve] has returned. It may be
// called again.
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
