package kubeletapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// byPath allows a user to get the paths below /open, fails below /broken, and
// keeps what it was asked.
type byPath struct{ asked []string }

func (b *byPath) ReviewAccess(_ context.Context, spec authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	a := spec.NonResourceAttributes
	if a == nil || spec.ResourceAttributes != nil {
		return nil, errors.New("not about a path")
	}
	b.asked = append(b.asked, spec.User+" "+a.Verb+" "+a.Path)
	if strings.HasPrefix(a.Path, "/broken") {
		return nil, errors.New("no answer")
	}
	return &authz.SubjectAccessReviewStatus{Allowed: a.Verb == "get" && strings.HasPrefix(a.Path, "/open"), Reason: "by path"}, nil
}

// Tokens are the names of their users.
func (b *byPath) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	return &authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: spec.Token}}, nil
}

func TestNonResource(t *testing.T) {
	long, longer := "/open/"+strings.Repeat("x", maxOwnBytes-len("get/open/")), "/open/"+strings.Repeat("x", maxOwnBytes)
	for _, tt := range []struct {
		requests string // user, method, path, or a time that passes
		codes    string
		reviews  int
	}{
		{"jane GET /open", "200", 1},
		{"jane HEAD /open", "200", 1},
		{"jane POST /open", "403", 1},
		{"jane get /open", "403", 1},
		{"jane GET /metrics", "403", 1},
		{"jane GET /broken", "500", 1},
		{"jane GET /open|jane GET /open|jane HEAD /open", "200 200 200", 1},
		{"jane GET /open|joe GET /open", "200 200", 2},
		{"jane GET /open|jane GET /open/", "200 200", 2},
		{"jane GET /open|jane POST /open|jane GET /open", "200 403 200", 2},
		{"jane GET /closed|29s|jane GET /closed|2s|jane GET /closed", "403 403 403", 2},
		{"jane GET /open|4m59s|jane GET /open|2s|jane GET /open", "200 200 200", 2},
		{"jane GET /broken|jane GET /broken", "500 500", 2},
		{"jane GET " + long + "|jane GET " + long, "200 200", 1},
		{"jane GET " + longer + "|jane GET " + longer, "200 200", 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			api := &byPath{}
			auth, err := New(Config{
				AuthorizationMode: ModeWebhook, AuthenticationTokenWebhook: true, RequestAttributes: AttributesNonResource,
				HostnameOverride: "n1", TokenReviewer: api, AccessReviewer: api,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer auth.Close()
			var codes []string
			for step := range strings.SplitSeq(tt.requests, "|") {
				var user, method, path string
				if d, err := time.ParseDuration(step); err == nil {
					time.Sleep(d)
					continue
				}
				fmt.Sscan(step, &user, &method, &path)
				r := httptest.NewRequest("GET", path, nil)
				r.Method = method
				r.Header.Set("Authorization", "Bearer "+user)
				w := httptest.NewRecorder()
				auth.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
				if w.Code == 404 {
					w.Code = 200
				}
				codes = append(codes, fmt.Sprint(w.Code))
			}
			if got := strings.Join(codes, " "); got != tt.codes || len(api.asked) != tt.reviews {
				t.Errorf("%.60s: %s after %d reviews, want %s after %d", tt.requests, got, len(api.asked), tt.codes, tt.reviews)
			}
		})
	}
}

// What an embedder asks for is remembered by all of its fields.
func TestOwnAttributes(t *testing.T) {
	base := authz.Attributes{Verb: "get", Namespace: "ns", APIGroup: "g", APIVersion: "v1", Resource: "r", Subresource: "s", Name: "n", Path: "/p"}
	variants := []authz.Attributes{base}
	for _, field := range []func(*authz.Attributes) *string{
		func(a *authz.Attributes) *string { return &a.Verb },
		func(a *authz.Attributes) *string { return &a.Namespace },
		func(a *authz.Attributes) *string { return &a.APIGroup },
		func(a *authz.Attributes) *string { return &a.APIVersion },
		func(a *authz.Attributes) *string { return &a.Resource },
		func(a *authz.Attributes) *string { return &a.Subresource },
		func(a *authz.Attributes) *string { return &a.Name },
		func(a *authz.Attributes) *string { return &a.Path },
	} {
		variant := base
		*field(&variant) += "x"
		variants = append(variants, variant)
	}
	moved := base // no two fields run into each other
	moved.Namespace, moved.APIGroup = "n", "sg"
	variants = append(variants, moved)

	asked := 0
	auth, err := New(Config{AnonymousAuth: true, AuthorizationMode: ModeWebhook, HostnameOverride: "n1", AccessReviewer: agreeable{}})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	auth.Authorizer = authorizerFunc(func(a authz.Attributes) authz.Decision {
		asked++
		return authz.DecisionAllow
	})
	var now authz.Attributes
	auth.RequestAttributes = func(*http.Request) authz.Attributes { return now }
	for round := range 2 {
		for i, variant := range variants {
			now = variant
			if _, err := auth.Check(httptest.NewRequest("GET", "/", nil)); err != nil {
				t.Errorf("%+v: %v", variant, err)
			}
			if want := min(round*len(variants)+i+1, len(variants)); asked != want {
				t.Fatalf("round %d: asked %d times after %d variants, want %d", round, asked, i+1, want)
			}
		}
	}
	now = base
	now.LabelSelector = []authz.Requirement{{Key: "k"}}
	asked = 0
	for range 2 {
		if _, err := auth.Check(httptest.NewRequest("GET", "/", nil)); err != nil {
			t.Error(err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times about a selector, want 2: it is not remembered", asked)
	}
}

// What is remembered of a long request is what was asked for, and not the rest.
func TestOwnAttributesAreSmall(t *testing.T) {
	auth, err := New(Config{AnonymousAuth: true, AuthorizationMode: ModeWebhook, RequestAttributes: AttributesNonResource, HostnameOverride: "n1", AccessReviewer: agreeable{}})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	const n = 500
	query := "?" + strings.Repeat("x", 60<<10)
	empty := heapInUse()
	for i := range n {
		if _, err := auth.Check(httptest.NewRequest("GET", fmt.Sprintf("/%d%s", i, query), nil)); err != nil {
			t.Fatal(err)
		}
	}
	if each := int64(heapInUse()-empty) / n; each >= 2<<10 {
		t.Errorf("%d bytes", each)
	}
}

type authorizerFunc func(authz.Attributes) authz.Decision

func (f authorizerFunc) Authorize(_ context.Context, a authz.Attributes) (authz.Decision, string, error) {
	return f(a), "", nil
}

// The body of a refusal says what was asked for, on one line.
func TestRefusedOwnAttributes(t *testing.T) {
	for _, tt := range []struct {
		asked authz.Attributes
		want  string
	}{
		{authz.Attributes{Verb: "get", Path: "/metrics"}, "Forbidden (user=system:anonymous, verb=get, path=\"/metrics\")\n"},
		{authz.Attributes{Verb: "get", Path: "/a\nb"}, "Forbidden (user=system:anonymous, verb=get, path=\"/a\\nb\")\n"},
		{authz.Attributes{Verb: "list", Resource: "pods", Subresource: "x"}, "Forbidden (user=system:anonymous, verb=list, resource=pods, subresource(s)=[x])\n"},
	} {
		auth := &Auth{Authenticator: authn.Anonymous{}, Authorizer: authorizerFunc(func(authz.Attributes) authz.Decision { return authz.DecisionDeny })}
		auth.RequestAttributes = func(*http.Request) authz.Attributes { return tt.asked }
		w := httptest.NewRecorder()
		auth.Handler(nil).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != 403 || w.Body.String() != tt.want {
			t.Errorf("%d %q, want %q", w.Code, w.Body, tt.want)
		}
	}
}
