package kubeletapi

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/testdata/vectors"
)

// fakeAPI reviews tokens and access as a row says, and counts. Anything that the
// row does not name is good, and allowed: a token is its user's name.
type fakeAPI struct {
	status  *authn.TokenReviewStatus // answers every token, if there is one
	users   map[string]authn.UserInfo
	tokens  map[string]vectors.Strings // by token
	access  map[string]vectors.Strings // by subresource
	latency time.Duration

	mu      sync.Mutex // guards what follows
	reviews int
	specs   []authz.SubjectAccessReviewSpec
}

// next returns the next of the answers for key, of which the last is for good.
func next(all map[string]vectors.Strings, key string) string {
	list := all[key]
	if len(list) > 1 {
		all[key] = list[1:]
	}
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func newFakeAPI(t *testing.T, input *vectors.Object) *fakeAPI {
	t.Helper()
	api := &fakeAPI{latency: duration(t, vectors.Or(input, "latency", "0s"))}
	input.Get("users", &api.users)
	input.Get("tokens", &api.tokens)
	input.Get("decisions", &api.access)
	return api
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (api *fakeAPI) ReviewToken(ctx context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	api.mu.Lock()
	api.reviews++
	answer := next(api.tokens, spec.Token)
	api.mu.Unlock()
	if err := wait(ctx, api.latency); err != nil {
		return nil, err
	}
	if api.status != nil {
		return api.status, nil
	}
	kind, reason, _ := strings.Cut(answer, ": ")
	switch kind {
	case "refused":
		return &authn.TokenReviewStatus{Error: reason}, nil
	case "nameless":
		return &authn.TokenReviewStatus{Authenticated: true}, nil
	case "failure":
		return nil, errors.New(reason)
	case "panic":
		panic("as the row says")
	}
	user, ok := api.users[spec.Token]
	if !ok {
		user.Username = spec.Token
	}
	return &authn.TokenReviewStatus{Authenticated: true, User: user}, nil
}

func (api *fakeAPI) ReviewAccess(ctx context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	api.mu.Lock()
	api.specs = append(api.specs, spec)
	sub := spec.ResourceAttributes.Subresource
	answer := next(api.access, sub)
	api.mu.Unlock()
	if err := wait(ctx, api.latency); err != nil {
		return nil, err
	}
	switch answer {
	case "NoOpinion":
		return &authz.SubjectAccessReviewStatus{Reason: "not for the caller"}, nil
	case "error":
		return nil, errors.New("not for the caller")
	case "panic":
		panic("as the row says")
	}
	return &authz.SubjectAccessReviewStatus{Allowed: answer != "Deny", Denied: strings.Contains(answer, "Deny")}, nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// allowWithError is an Authorizer that allows, beside an error.
type allowWithError struct{ *fakeAPI }

func (z allowWithError) Authorize(context.Context, authz.Attributes) (authz.Decision, string, error) {
	return authz.DecisionAllow, "", errors.New("as the row says")
}

// logged is a slog.Handler that keeps the errors it is told of.
type logged struct {
	slog.Handler
	mu   sync.Mutex // guards errs
	errs []string
}

func newLogged() *logged { return &logged{Handler: slog.DiscardHandler} }

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "Failed to make webhook") {
		return nil // of the review, not of a request
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			l.errs = append(l.errs, a.Value.String())
		}
		return true
	})
	return nil
}
