package kubeletapi

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/responsewriter"
	"kubeletauth/kubeletapi/internal/ttlcache"
)

// Event is what became of one request. It holds no credential. Texts are as the
// client and the API server sent them, at most 1 KiB of each.
type Event struct {
	Time   time.Time `json:"time"` // when the request came
	ID     string    `json:"id"`   // that the answer carries in the header Audit-Id
	Stage  string    `json:"stage"`
	Remote string    `json:"remote"`
	Method string    `json:"method"`
	Path   string    `json:"path"` // decoded, without the query

	// Who asked, by AuthenticatedBy: certificate, token or anonymous; empty where
	// nobody was recognized, or an Authenticator of the embedder's said who it is.
	// CredentialID is the API server's name for the credential, if it said one.
	User            string   `json:"user,omitempty"`
	UID             string   `json:"uid,omitempty"`
	Groups          []string `json:"groups,omitempty"`
	AuthenticatedBy string   `json:"authenticatedBy,omitempty"`
	CredentialID    string   `json:"credentialID,omitempty"`

	// What was asked for, in that order, and what was said to the last of it. Decision
	// is allow or deny, or error if none could be made; empty where it did not
	// come to that.
	Attributes []EventAttributes `json:"attributes,omitempty"`
	Decision   string            `json:"decision,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	Error      string            `json:"error,omitempty"`

	// Where the two answers are from: reviewed by the API server for this request,
	// stale, or else cached, which is said of all that it was not asked for; and how
	// long they took.
	Authentication         string        `json:"authentication,omitempty"`
	Authorization          string        `json:"authorization,omitempty"`
	AuthenticationDuration time.Duration `json:"authenticationNanoseconds"`
	AuthorizationDuration  time.Duration `json:"authorizationNanoseconds"`

	// Of the answer: 0 if it has not begun, or the handler panicked before it did, and
	// 101 if the handler took the connection over.
	Status   int           `json:"status"`
	Duration time.Duration `json:"nanoseconds"` // until the stage
}

// The values of [Event.Stage], as in the audit log of Kubernetes. The first is that of
// answers alone that last: at an upgrade, and after a minute.
const (
	StageStarted  = "ResponseStarted"
	StageComplete = "ResponseComplete"
)

const longAnswer = time.Minute

// EventAttributes are what was asked for: a verb on a subresource, or on a path.
type EventAttributes struct {
	Verb        string `json:"verb"`
	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	Name        string `json:"name,omitempty"`
	Path        string `json:"path,omitempty"` // without a resource
}

// EventLogger is told of each request once its answer has ended, whether it
// passed or not, and of one that lasts once before that; see [StageStarted]. It
// must be safe for concurrent use, and it holds up the request's connection for as
// long as it takes. It returns false if it could not take the event, which is
// counted. Package decisionlog has one.
type EventLogger interface {
	LogEvent(Event) bool
}

// trace collects what an Event is made of.
type trace struct {
	id                            *identity
	found                         credential
	decision                      *decision
	attributes                    []authz.Attributes
	tokenReviewed, accessReviewed bool
	start, identified, decided    time.Time
}

type traceKey struct{}

// traceOf returns the trace of a request, or one that nobody looks at.
func traceOf(ctx context.Context) *trace {
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		return t
	}
	return new(trace)
}

func (t *trace) identify(id *identity, found credential) {
	t.id, t.found, t.identified = id, found, time.Now()
}

func (t *trace) decide(attributes authz.Attributes, d *decision) {
	t.decision, t.decided = d, time.Now()
	t.attributes = append(t.attributes, attributes)
}

func (a *Auth) trace(r *http.Request, id *identity, p place, d *decision) {
	traceOf(r.Context()).decide(a.attributes(id.user, p, r.URL.Path), d)
}

// serveLogged is the filter with an Event at its end.
func (a *Auth) serveLogged(w http.ResponseWriter, r *http.Request, h *ttlcache.Horizon, next http.Handler) {
	t := &trace{start: time.Now()}
	e := Event{Time: t.start.UTC(), ID: rand.Text(), Remote: r.RemoteAddr, Method: kept(r.Method), Path: kept(r.URL.Path)}
	w.Header().Set("Audit-Id", e.ID)
	answered := &responsewriter.Writer{ResponseWriter: w}
	log := func(stage string) {
		e := e
		e.Stage, e.Status, e.Duration = stage, answered.Code(), time.Since(t.start)
		if !a.EventLogger.LogEvent(e) {
			a.metrics.dropped.Inc()
		}
	}
	defer log(StageComplete)
	r = r.WithContext(context.WithValue(r.Context(), traceKey{}, t))
	user, refused := a.pass(answered, r, h)
	e.explain(t, user, refused)
	if user != nil {
		var once sync.Once
		answered.Upgraded = func() { once.Do(func() { log(StageStarted) }) }
		defer once.Do(func() {}) // not after the end
		defer time.AfterFunc(longAnswer, func() {
			defer a.survive()
			answered.Upgraded()
		}).Stop()
		next.ServeHTTP(answered, r)
	}
	answered.End()
}

// explain fills in what was found out about a request.
func (e *Event) explain(t *trace, user *authn.UserInfo, refused *RefusedError) {
	e.AuthenticationDuration = max(t.identified.Sub(t.start), 0)
	e.AuthorizationDuration = max(t.decided.Sub(t.identified), 0)
	if refused != nil {
		user, e.Reason = refused.User, refused.Reason
		if refused.Err != nil {
			e.Error = clip(refused.Err.Error())
		}
	}
	for _, a := range t.attributes {
		e.Attributes = append(e.Attributes, eventAttributes(a))
	}
	if t.id != nil {
		e.Authentication = source(t.tokenReviewed, t.id.until != 0)
		e.AuthenticatedBy = [...]string{"", "certificate", "token", "token", "anonymous"}[t.found]
	}
	if user == nil {
		return
	}
	e.User, e.UID = clip(user.Username), clip(user.UID)
	for _, group := range user.Groups {
		e.Groups = append(e.Groups, clip(group))
	}
	if ids := user.Extra[authn.ExtraCredentialID]; len(ids) > 0 {
		e.CredentialID = clip(ids[0])
	}
	switch {
	case refused == nil:
		e.Decision = "allow"
	case refused.Code == http.StatusForbidden:
		e.Decision = "deny"
	default:
		e.Decision = "error"
	}
	if t.decision != nil {
		e.Authorization = source(t.accessReviewed, t.decision.until != 0)
		e.Reason = t.decision.reason()
	}
}

func eventAttributes(a authz.Attributes) EventAttributes {
	asked := EventAttributes{Verb: kept(a.Verb), Resource: kept(a.Resource), Subresource: kept(a.Subresource), Name: kept(a.Name)}
	if a.Resource == "" {
		asked.Path = kept(a.Path)
	}
	return asked
}

// kept is clip for a part of a request, which may be much longer than what is
// shown of it.
func kept(text string) string { return strings.Clone(clip(text)) }

func source(reviewed, stale bool) string {
	switch {
	case stale:
		return "stale"
	case reviewed:
		return "reviewed"
	}
	return "cached"
}
