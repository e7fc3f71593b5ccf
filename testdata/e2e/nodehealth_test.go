package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/server/healthz"

	"kubeletauth/kubeletapi/node"
	"kubeletauth/testdata/e2e/internal/generate"
)

// nodeHealthReason is what only the log may say.
const nodeHealthReason = "secret reason"

// TestNodeHealth holds /healthz and /readyz and what is below them against Kubernetes' own handlers, byte for byte, with
// checks, failures, methods and queries made by chance.
func TestNodeHealth(t *testing.T) {
	s := generate.New(t)
	const worlds, requests = 1000, 20
	met := map[string]int{}
	for range worlds {
		w := newNodeHealth(s)
		for range requests {
			method, target := generate.Pick(s, "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "get"), w.target(s)
			theirs, ours := nodeHealthAsk(w.theirs, method, target), nodeHealthAsk(w.ours, method, target)
			if want := nodeHealthExpected(theirs); ours != want {
				t.Fatalf("%s %s of %s\nours:   %+v\ntheirs: %+v", method, target, w, ours, want)
			}
			if strings.Contains(ours.body, nodeHealthReason) {
				t.Fatalf("%s of %s: %q", target, w, ours.body)
			}
			met[nodeHealthKind(ours)]++
		}
	}
	for _, kind := range []string{"404", "200", "200 report", "200 excluded", "200 warn", "500 one", "500 report", "500 excluded", "500 warn"} {
		if met[kind] < 10 {
			t.Errorf("only %d answers were %q, of %v", met[kind], kind, met)
		}
	}
}

// nodeHealth is a set of checks behind both implementations.
type nodeHealth struct {
	names        []string
	failing      map[string]bool
	theirs, ours http.Handler
}

func (w *nodeHealth) String() string { return fmt.Sprintf("%q, of which %v fail", w.names, w.failing) }

// nodeHealthNames are names that checks may have, in Kubernetes and as a mux understands them.
var nodeHealthNames = []string{"log", "syncloop", "device-plugin", "etcd", "a", "b", "A", "poststarthook/start", "ping2", "é", "x.y", "no_check", "a:b", "%"}

func newNodeHealth(s *generate.Source) *nodeHealth {
	w := &nodeHealth{failing: map[string]bool{}}
	all := slices.Clone(nodeHealthNames)
	s.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	w.names = all[:s.Upto(5)]
	odds := 1 + s.Upto(4)
	theirs := []healthz.HealthChecker{healthz.PingHealthz}
	var ours []node.Check
	for _, name := range w.names {
		var err error
		if s.Chance(odds) {
			err, w.failing[name] = errors.New(nodeHealthReason), true
		}
		theirs = append(theirs, healthz.NamedCheck(name, func(*http.Request) error { return err }))
		ours = append(ours, node.Check{Name: name, Check: func(context.Context) error { return err }})
	}
	mux := http.NewServeMux()
	healthz.InstallHandler(mux, theirs...)
	healthz.InstallReadyzHandler(mux, theirs...)
	w.theirs = mux
	api := node.API{Live: ours, Ready: ours, Logger: slog.New(slog.DiscardHandler)}
	w.ours = api.HealthHandler()
	if s.Chance(2) {
		w.ours = api.Handler()
	}
	return w
}

// target is a path of health, mostly one that is there, and a query.
func (w *nodeHealth) target(s *generate.Source) string {
	path := generate.Pick(s, "/healthz", "/readyz")
	name := func() string {
		return generate.Pick(s, append([]string{"ping", "nothing", "", "a b", "\"", "\n", "\x00", "\xff", "é", `\`, "a,b", "[-]"}, slices.Concat(w.names, w.names, w.names)...)...)
	}
	if s.Chance(4) {
		path += "/" + (&url.URL{Path: name()}).EscapedPath()
	}
	query := generate.List(s, 6, func() string {
		return generate.Pick(s, "verbose", "verbose=", "verbose=0", "VERBOSE", "exclude", "exclude=%zz", "x=y", ";", "exclude;verbose",
			"exclude="+url.QueryEscape(name()), "exclude="+url.QueryEscape(name()), "exclude="+url.QueryEscape(name()))
	})
	if len(query) > 0 || s.Chance(8) {
		path += "?" + strings.Join(query, "&")
	}
	return path
}

// nodeHealthAnswer is all of an answer that a prober may look at.
type nodeHealthAnswer struct {
	code              int
	contentType, body string
}

func nodeHealthAsk(h http.Handler, method, target string) nodeHealthAnswer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return nodeHealthAnswer{w.Code, w.Result().Header.Get("Content-Type"), w.Body.String()}
}

// nodeHealthExpected is what we answer where Kubernetes gives an answer: the same, but for the reason that the path of a
// single check gives away there.
func nodeHealthExpected(theirs nodeHealthAnswer) nodeHealthAnswer {
	theirs.body = strings.Replace(theirs.body, "internal server error: "+nodeHealthReason, "internal server error: reason withheld", 1)
	return theirs
}

// nodeHealthKind sorts answers, to see that all kinds are met.
func nodeHealthKind(a nodeHealthAnswer) string {
	kind := fmt.Sprint(a.code)
	switch {
	case strings.Contains(a.body, "\nwarn: "):
		return kind + " warn"
	case strings.Contains(a.body, " excluded: ok\n"):
		return kind + " excluded"
	case strings.Contains(a.body, " check "):
		return kind + " report"
	case a.code == http.StatusInternalServerError:
		return kind + " one"
	}
	return kind
}
