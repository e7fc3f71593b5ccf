package kubeletapi

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// slow answers after a second, as it is told.
type slow struct {
	down, refuse   atomic.Bool
	tokens, access atomic.Int64
}

func (s *slow) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	s.tokens.Add(1)
	time.Sleep(time.Second)
	if s.down.Load() {
		return nil, errors.New("down")
	}
	return &authn.TokenReviewStatus{Authenticated: !s.refuse.Load(), User: authn.UserInfo{Username: spec.Token}}, nil
}

func (s *slow) ReviewAccess(context.Context, authz.SubjectAccessReviewSpec) (*authz.SubjectAccessReviewStatus, error) {
	s.access.Add(1)
	time.Sleep(time.Second)
	if s.down.Load() {
		return nil, errors.New("down")
	}
	return &authz.SubjectAccessReviewStatus{Allowed: !s.refuse.Load()}, nil
}

// busy is a caller who asks ten times a second.
type busy struct {
	t    *testing.T
	auth *Auth
	ctx  context.Context
}

// ask asks for as long, and returns how many requests passed, how many were
// refused, and how long the longest had to wait.
func (b *busy) ask(d time.Duration) (passed, refused int, longest time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		r := httptest.NewRequest("GET", "/metrics", nil).WithContext(b.ctx)
		r.Header.Set("Authorization", "Bearer jane")
		start := time.Now()
		if _, err := b.auth.Check(r); err != nil {
			refused++
		} else {
			passed++
		}
		longest = max(longest, time.Since(start))
	}
	return passed, refused, longest
}

func newBusy(t *testing.T, api *slow, slotted bool) *busy {
	auth, err := New(Config{AuthorizationMode: ModeWebhook, AuthenticationTokenWebhook: true, HostnameOverride: "n1", TokenReviewer: api, AccessReviewer: api})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auth.Close)
	b := &busy{t, auth, t.Context()}
	if slotted {
		b.ctx = withSlot(b.ctx, nil)
	}
	if passed, refused, longest := b.ask(5 * time.Second); passed == 0 || refused != 0 || longest != 2*time.Second {
		t.Fatalf("at first: %d passed, %d refused, the longest after %v", passed, refused, longest)
	}
	return b
}

func TestBusyCallerNeverWaits(t *testing.T) {
	for _, slotted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			api := &slow{}
			b := newBusy(t, api, slotted)
			_, refused, longest := b.ask(time.Hour)
			if refused != 0 || longest != 0 {
				t.Errorf("%d refused, the longest after %v", refused, longest)
			}
			// Renewed after eight to nine tenths of 2 and 5 minutes.
			if api.tokens.Load() < 33 || api.tokens.Load() > 39 || api.access.Load() < 13 || api.access.Load() > 17 {
				t.Errorf("%d reviews of the token and %d of access in an hour", api.tokens.Load(), api.access.Load())
			}
		})
	}
}

// Nobody renews what nobody uses.
func TestIdleCallerIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &slow{}
		newBusy(t, api, true)
		time.Sleep(time.Hour)
		if api.tokens.Load() != 1 || api.access.Load() != 1 {
			t.Errorf("%d and %d reviews", api.tokens.Load(), api.access.Load())
		}
	})
}

// Attempts that fail are paced, end nothing early, and prolong nothing.
func TestFailedRenewal(t *testing.T) {
	for _, slotted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			api := &slow{}
			b := newBusy(t, api, slotted) // since 5 s; the token's answer is 4 s old
			api.down.Store(true)
			if passed, refused, longest := b.ask(114 * time.Second); refused != 0 || passed != 1140 || longest != 0 {
				t.Errorf("before the end: %d passed, %d refused, the longest after %v", passed, refused, longest)
			}
			if api.tokens.Load() < 4 || api.tokens.Load() > 9 {
				t.Errorf("%d reviews of the token in the last 12 to 24 seconds, want one every 3", api.tokens.Load()-1)
			}
			b.ask(3 * time.Second)
			if passed, refused, _ := b.ask(10 * time.Second); passed != 0 || refused == 0 {
				t.Errorf("after the end: %d passed, %d refused", passed, refused)
			}
			api.down.Store(false)
			b.ask(2 * time.Second)
			if _, refused, _ := b.ask(10 * time.Second); refused != 0 {
				t.Errorf("after the API server came back: %d refused", refused)
			}
		})
	}
}

// A refusal counts from when it is known.
func TestRefusedRenewal(t *testing.T) {
	for _, slotted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			api := &slow{}
			b := newBusy(t, api, slotted)
			api.refuse.Store(true)
			for api.tokens.Load() < 2 {
				b.ask(100 * time.Millisecond)
			}
			b.ask(time.Second)
			if passed, _, _ := b.ask(10 * time.Second); passed != 0 {
				t.Errorf("%d passed after the token was refused", passed)
			}
		})
	}
}

// Answers that began together are not all renewed together: each moment between
// eight and nine tenths of their time is as likely as another.
func TestRenewalsAreSpread(t *testing.T) {
	const ttl, span = 100 * time.Second, 10 * time.Second
	var parts [10]int
	for range 1000 {
		var a term
		a.begin(time.Now(), ttl)
		if early := time.Duration(a.early.Load()); early < span || early > 2*span {
			t.Fatalf("renewed %v before the end", early)
		} else {
			parts[(early-span)*10/(span+1)]++
		}
	}
	for i, n := range parts {
		if n < 50 || n > 150 { // five standard deviations
			t.Errorf("%d of 1000 in part %d of 10", n, i)
		}
	}
}
