package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
)

// waited is what many callers with one token cost the API server, and how long
// the slowest of them waited for a decision.
type waited struct {
	tokenReviews, accessReviews int
	slowest                     time.Duration
}

func (w waited) String() string {
	return fmt.Sprintf("%d + %d reviews, slowest %s", w.tokenReviews, w.accessReviews, nanos(float64(w.slowest)))
}

const (
	crowdCallers = 512
	crowdLatency = 5 * time.Millisecond // of the API server

	expiryCallers = 32
	expiryLatency = 50 * time.Millisecond
	expiryTTL     = time.Second // of all that is remembered
)

// measureCrowd lets callers with a new token come at once. The kubelet's chain
// meets one crowd, when it has sent no reviews for a while; ours several.
func measureCrowd(rounds int) (theirs, ours waited) {
	w := newWorld(crowdLatency)
	defer w.close()
	chain, auth := w.kubelet(kubeletapi.ModeWebhook, 0), w.ours(w.config(kubeletapi.ModeWebhook))
	crowd := func(decide func(*http.Request) error) waited {
		check(decide(request(w.token()))) // opens the connection to the API server
		return w.callers(crowdCallers, w.token(), decide, func(decide func()) { decide() })
	}
	var slowest []float64
	for range rounds {
		each := crowd(ourDecision(auth))
		ours.tokenReviews, ours.accessReviews = max(ours.tokenReviews, each.tokenReviews), max(ours.accessReviews, each.accessReviews)
		slowest = append(slowest, float64(each.slowest))
	}
	ours.slowest = time.Duration(median(slowest))
	return crowd(chain.Check), ours
}

// measureExpiry lets callers come again and again while what is remembered of
// their token expires a few times.
func measureExpiry(times int) (theirs, ours waited) {
	w := newWorld(expiryLatency)
	defer w.close()
	config := w.config(kubeletapi.ModeWebhook)
	config.AuthenticationTokenWebhookCacheTTL, config.AuthorizationWebhookCacheAuthorizedTTL = expiryTTL, expiryTTL
	chain, auth := w.kubelet(kubeletapi.ModeWebhook, expiryTTL), w.ours(config)
	again := func(decide func(*http.Request) error) waited {
		token := w.token()
		check(decide(request(token)))
		end := time.Now().Add(time.Duration(times)*expiryTTL + expiryTTL/2)
		return w.callers(expiryCallers, token, decide, func(decide func()) {
			for time.Now().Before(end) {
				decide()
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	return again(chain.Check), again(ourDecision(auth))
}

func ourDecision(auth *kubeletapi.Auth) func(*http.Request) error {
	return func(r *http.Request) error {
		_, err := auth.Check(r)
		return err
	}
}

// callers runs each n times at once, with a function that asks for a decision.
func (w *world) callers(n int, token string, decide func(*http.Request) error, each func(decide func())) (all waited) {
	tokenReviews, accessReviews := w.api.Count(apiservertest.TokenReviews), w.api.Count(apiservertest.SubjectAccessReviews)
	slowest := make([]time.Duration, n)
	var running sync.WaitGroup
	start := make(chan struct{})
	for i := range slowest {
		running.Go(func() {
			<-start
			each(func() {
				r := request(token)
				began := time.Now()
				check(decide(r))
				slowest[i] = max(slowest[i], time.Since(began))
			})
		})
	}
	close(start)
	running.Wait()
	for _, each := range slowest {
		all.slowest = max(all.slowest, each)
	}
	all.tokenReviews = w.api.Count(apiservertest.TokenReviews) - tokenReviews
	all.accessReviews = w.api.Count(apiservertest.SubjectAccessReviews) - accessReviews
	return all
}

// request is one without a connection.
func request(token string) *http.Request {
	r := must(http.NewRequestWithContext(context.Background(), "GET", "https://n1:10250/metrics", nil))
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func writeCrowd(t *table, theirs, ours waited) {
	met := ours.tokenReviews == 1 && ours.accessReviews == 1 && ours.slowest < 5*crowdLatency
	t.row(fmt.Sprintf("%d callers at once, new token (API server answers in %v)", crowdCallers, crowdLatency),
		theirs.String(), ours.String(), fmt.Sprintf("1 + 1, slowest under %v", 5*crowdLatency), verdict(met))
}

func writeExpiry(t *table, times int, theirs, ours waited) {
	t.row(fmt.Sprintf("%d callers while what is remembered of their token expires, %d times (API server answers in %v)", expiryCallers, times, expiryLatency),
		theirs.String(), ours.String(), "nobody waits for the API server", verdict(ours.slowest < expiryLatency/2))
}
