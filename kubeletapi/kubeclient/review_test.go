package kubeclient

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authz"
)

func TestAccessSpec(t *testing.T) {
	t.Parallel()
	selector := &authz.Selector{Requirements: []authz.SelectorRequirement{{Key: "k", Operator: "Exists"}}}
	spec := authz.SubjectAccessReviewSpec{
		ResourceAttributes: &authz.ResourceAttributes{Verb: "get", Version: "v1", Resource: "nodes", Subresource: "stats", Name: "n", LabelSelector: selector, FieldSelector: selector},
		User:               "jane", Groups: []string{"dev"}, Extra: map[string][]string{"k": {"v"}}, UID: "7",
	}
	selectors := `"fieldSelector":{"requirements":[{"key":"k","operator":"Exists"}]},"labelSelector":{"requirements":[{"key":"k","operator":"Exists"}]}`
	attributes := `{"resourceAttributes":{"verb":"get","version":"v1","resource":"nodes","subresource":"stats","name":"n"`
	for version, want := range map[string]string{
		v1:      attributes + `,` + selectors + `},"user":"jane","groups":["dev"],"extra":{"k":["v"]},"uid":"7"}`,
		v1beta1: attributes + `},"user":"jane","extra":{"k":["v"]},"uid":"7","group":["dev"]}`,
	} {
		got, err := json.Marshal(accessSpec(spec, version))
		must(t, err)
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
	}
	if spec.ResourceAttributes.LabelSelector == nil {
		t.Error("the caller's spec was changed")
	}
}

// knows is an API server that knows some versions.
func knows(versions ...string) func(int, seen, http.ResponseWriter) {
	return func(n int, s seen, w http.ResponseWriter) {
		for _, version := range versions {
			if s.version == version {
				yes(n, s, w)
				return
			}
		}
		send(w, 404, `404 page not found`)
	}
}

func (w *world) versions() string {
	var versions []string
	for _, s := range w.arrived() {
		versions = append(versions, s.version)
	}
	return strings.Join(versions, " ")
}

func TestVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.tokenClient()
	step := func(what, want string, review func(t testing.TB, c *Client)) {
		t.Helper()
		review(t, c)
		if got := w.versions(); got != want {
			t.Errorf("%s: asked for %q, want %q", what, got, want)
		}
	}
	token := func(t testing.TB, c *Client) {
		t.Helper()
		if status, err := reviewToken(c); err != nil || !status.Authenticated {
			t.Errorf("got %+v, %v, want authenticated", status, err)
		}
	}
	w.setAnswer(knows(v1beta1))
	step("an old API server", "v1 v1beta1", token)
	w.setAnswer(knows(v1beta1))
	step("it is remembered", "v1beta1", token)
	w.setAnswer(knows(v1beta1))
	step("by API group", "v1 v1beta1", func(t testing.TB, c *Client) { reviewAccess(c) })
	w.setAnswer(knows(v1))
	step("v1beta1 is gone", "v1beta1 v1", token)
	w.setAnswer(knows(v1))
	step("and stays gone", "v1", token)
	w.setAnswer(knows())
	step("neither", "v1 v1beta1", func(t testing.TB, c *Client) {
		t.Helper()
		_, err := reviewToken(c)
		mustFail(t, err, "knows neither authentication.k8s.io/v1 nor v1beta1")
		if !isNotFound(err) {
			t.Errorf("%v is not a StatusError with 404", err)
		}
	})
	w.setAnswer(knows(v1))
	step("nothing was remembered of that", "v1", token)
	w.setAnswer(func(n int, s seen, rw http.ResponseWriter) {
		if s.version == v1 {
			send(rw, 404, "")
		} else {
			send(rw, 403, "")
		}
	})
	step("a refusal by v1beta1", "v1 v1beta1", func(t testing.TB, c *Client) { reviewToken(c) })
	w.setAnswer(knows(v1))
	step("is not remembered", "v1", token)
}

func TestPreferredVersion(t *testing.T) {
	t.Parallel()
	var a api
	start := time.Now()
	if got := a.preferred(start.Add(5 * time.Minute)); got != v1 {
		t.Errorf("first: %s", got)
	}
	a.beta.Store(new(start.Add(5 * time.Minute)))
	for _, test := range []struct {
		minute time.Duration
		want   string
	}{{5, v1beta1}, {14, v1beta1}, {15, v1}, {15, v1beta1}, {24, v1beta1}, {25, v1}, {26, v1beta1}} {
		if got := a.preferred(start.Add(test.minute * time.Minute)); got != test.want {
			t.Errorf("minute %d: %s, want %s", test.minute, got, test.want)
		}
	}
}

func TestUpgradedServerIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.tokenClient()
	w.setAnswer(knows(v1beta1))
	mustReview(t, c)
	c.tokens.beta.Store(new(time.Now().Add(-betaMemory))) // ten minutes later
	w.setAnswer(knows(v1, v1beta1))
	for range 2 {
		_, err := reviewToken(c)
		must(t, err)
	}
	if got := w.versions(); got != "v1 v1" {
		t.Errorf("asked for %q, want v1 and v1 again", got)
	}
}

// A failure of the question must not be answered from an earlier attempt.
func TestRetryStartsAfresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := retry(t.Context(), func() error {
			if tries++; tries == 1 {
				return &StatusError{Code: 500, Reason: "InternalError"}
			}
			return errors.New("other")
		})
		if tries != 2 || err.Error() != "other" {
			t.Errorf("%d tries, %v", tries, err)
		}
	})
}
