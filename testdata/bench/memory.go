package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/testdata/bench/kubelet"
)

// memory is what is remembered of many tokens costs, in bytes of live heap.
type memory struct {
	each float64 // for one of the first few, with two decisions
	all  float64
}

const memoryFew = 4096 // half of the entries that ours has

// measureMemory shows both chains as many distinct tokens, of distinct users. The
// reviews are answered in this process.
func measureMemory(tokens int) (theirs, ours memory) {
	w := newWorld(0)
	defer w.close()
	chain := must(kubelet.New(kubelet.Config{Mode: kubeletapi.ModeWebhook, Transport: answers{}}))
	theirs = occupied(tokens, chain.Check)
	runtime.KeepAlive(chain)
	config := w.config(kubeletapi.ModeWebhook)
	config.TokenReviewer, config.AccessReviewer = answers{}, answers{}
	auth := w.ours(config)
	ours = occupied(tokens, ourDecision(auth))
	runtime.KeepAlive(auth)
	return theirs, ours
}

func occupied(tokens int, decide func(*http.Request) error) (m memory) {
	empty := heap()
	for i := range tokens {
		for _, path := range []string{"/metrics", "/stats/summary"} {
			r := request(fmt.Sprintf("%016d%01008d", i, i))
			r.URL.Path = path
			check(decide(r))
		}
		if i+1 == memoryFew {
			m.each = (heap() - empty) / memoryFew
		}
	}
	m.all = heap() - empty
	return m
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what the first one left to finalizers and pools
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// answers is an API server without a network. Both chains get a user out of the
// same JSON, so that neither has a string in common with another user.
type answers struct{}

func (answers) token(token string) []byte {
	return must(json.Marshal(authn.TokenReviewStatus{Authenticated: true, User: serviceAccount(token[:16])}))
}

// ReviewToken answers our chain.
func (a answers) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	status := new(authn.TokenReviewStatus)
	return status, json.Unmarshal(a.token(spec.Token), status)
}

// ReviewAccess answers our chain.
func (answers) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	return &authz.SubjectAccessReviewStatus{Allowed: true}, nil
}

// RoundTrip answers the kubelet's.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	var review struct {
		Kind       string         `json:"kind"`
		APIVersion string         `json:"apiVersion"`
		Spec       map[string]any `json:"spec"`
		Status     any            `json:"status"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		return nil, err
	}
	review.Status = authz.SubjectAccessReviewStatus{Allowed: true}
	if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
		review.Status = json.RawMessage(a.token(review.Spec["token"].(string)))
	}
	return &http.Response{
		StatusCode: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(must(json.Marshal(review)))), Request: r,
	}, nil
}

func (m memory) String() string {
	return fmt.Sprintf("%.2f KB each, %.1f MB in all", m.each/1e3, m.all/1e6)
}

func writeMemory(t *table, tokens int, theirs, ours memory) {
	t.head("", "kubelet", "ours", "goal", "")
	t.row(fmt.Sprintf("%d distinct valid tokens, each with 2 decisions", tokens), theirs.String(), ours.String(),
		"a bound, under 1 KB each", verdict(ours.each < 1000 && ours.all < 2*memoryFew*1000))
}
