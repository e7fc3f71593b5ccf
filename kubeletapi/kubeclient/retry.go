package kubeclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"kubeletauth/kubeletapi/internal/ttlcache"
)

const (
	maxAttempts    = 5
	firstPause     = 500 * time.Millisecond
	jitter         = 0.2
	maxRetryAfters = 10
	maxFailures    = 20
	failurePause   = time.Second / 4
	maxRemembered  = 4096 // failures, of different questions
)

// trouble is how many tries have failed since one succeeded. Where that is many,
// an API server in need of rest would see five times as many from each node: so
// a review is then one try, which finds out that it is well again as soon. And
// where that fails at once, whoever asks the same all the time would have it
// asked all the time: so its failure is the answer for a moment.
type trouble struct {
	failures atomic.Int64
	failed   *ttlcache.Table[error] // by question
}

// retry is the function, except in trouble.
func (t *trouble) retry(ctx context.Context, question func() ttlcache.Key, try func() error) error {
	counted := func() error {
		err := try()
		if err == nil {
			t.failures.Store(0)
		} else if !errors.Is(ctx.Err(), context.Canceled) { // who left learned nothing of the API server
			t.failures.Add(1)
		}
		return err
	}
	if t.failures.Load() < maxFailures {
		return retry(ctx, counted)
	}
	key := question()
	if err, ok := t.failed.Get(key, time.Now()); ok {
		return *err
	}
	err := counted()
	if err != nil && ctx.Err() == nil {
		t.failed.Put(&ttlcache.Entry[error]{Key: key, Value: err}, time.Now(), failurePause)
	}
	return err
}

// retry calls try until it succeeds, up to five times, as the kubelet's webhooks
// do (k8s.io/apiserver pkg/server/options/authentication.go and
// pkg/util/webhook/webhook.go). Each of the five may become eleven, as long as
// the API server says when to come back (k8s.io/client-go rest/with_retry.go). A
// pause that the deadline of ctx would cut short is not begun. If ctx ends, the
// last failure is returned that had another cause.
func retry(ctx context.Context, try func() error) error {
	var last error
	attempt, retryAfters, backoff := 1, 0, firstPause
	for {
		err := try()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		var pause time.Duration
		var status *StatusError
		switch {
		case errors.As(err, &status) && status.saysWhen() && retryAfters < maxRetryAfters:
			retryAfters++
			pause = status.retryAfter
		case retriable(err) && attempt < maxAttempts:
			attempt, retryAfters = attempt+1, 0
			pause = backoff + time.Duration(rand.Float64()*jitter*float64(backoff))
			backoff += backoff / 2
		default:
			return last
		}
		if !sleep(ctx, pause) {
			return last
		}
	}
}

// saysWhen reports whether the answer asks for another request at a set time.
func (e *StatusError) saysWhen() bool {
	return e.hasRetry && (e.Code == http.StatusTooManyRequests || e.Code >= http.StatusInternalServerError)
}

// retriable reports whether a failure may pass: DefaultShouldRetry in
// k8s.io/apiserver pkg/util/webhook/webhook.go, and a connection that was closed
// before it was known here. Without a reason that Kubernetes knows, the code
// decides.
func retriable(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "http2: client connection lost")
	}
	switch status.Reason {
	case "InternalError", "Timeout", "TooManyRequests":
		return true
	case "Unauthorized", "Forbidden", "NotFound", "AlreadyExists", "Conflict", "Gone", "Invalid", "ServerTimeout", "BadRequest", "Expired",
		"MethodNotAllowed", "NotAcceptable", "RequestEntityTooLarge", "UnsupportedMediaType", "ServiceUnavailable", "StorageReadError":
	default:
		if status.deciding == http.StatusInternalServerError || status.deciding == http.StatusGatewayTimeout {
			return true
		}
	}
	return status.suggestsWait || status.deciding == http.StatusTooManyRequests
}

// sleep waits for d and reports whether ctx let it. It does not begin what the
// deadline would end.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d || ctx.Err() != nil {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
