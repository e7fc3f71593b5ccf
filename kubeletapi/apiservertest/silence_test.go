package apiservertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

func TestSilence(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := apiservertest.MustStart(t, apiservertest.Config{})
		c := newClient(t, s, http2)
		c.post(t, tokenPath, janesToken).want(t, 201, "TokenReview")
		s.SetSilent(true)
		late := newClient(t, s, http2)
		lost := func(c *client) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			got := c.do(c.request(t, "POST", tokenPath, janesToken).WithContext(ctx))
			if !errors.Is(got.err, context.DeadlineExceeded) || s.Count(apiservertest.TokenReviews) != 1 {
				t.Errorf("http2=%v: %d %v, and %d requests arrived, want nothing and 1", http2, got.code, got.err, s.Count(apiservertest.TokenReviews))
			}
		}
		lost(c)
		lost(late)
		s.SetSilent(false)
		if http2 { // HTTP/1.1 has left the lost connection
			lost(c)
		}
		newClient(t, s, http2).post(t, tokenPath, janesToken).want(t, 201, "TokenReview")
		s.Stop()
		s.SetSilent(true)
	}
}
