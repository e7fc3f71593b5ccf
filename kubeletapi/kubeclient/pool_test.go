package kubeclient

import (
	"context"
	"net/http"
	"testing"

	"kubeletauth/authn"
)

// Nothing stays of a connection that is left, not even for the five minutes that
// a transport keeps one on which a request was given up.
func TestNothingStaysOfAPool(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(w *world, c *Client, s *session, giveUp func()){
		"closed after a review was given up":  func(_ *world, c *Client, _ *session, giveUp func()) { giveUp(); c.Close() },
		"closed before a review was given up": func(_ *world, c *Client, _ *session, giveUp func()) { c.Close(); giveUp() },
		"another endpoint":                    func(_ *world, _ *Client, s *session, giveUp func()) { giveUp(); s.retire() },
	} {
		w := newWorld(t)
		arrived, release := make(chan bool, 1), make(chan bool)
		t.Cleanup(func() { close(release) })
		w.setAnswer(func(n int, s seen, rw http.ResponseWriter) { arrived <- true; <-release })
		c := w.client(w.kubeconfig("token: " + ourToken))
		s, err := c.session()
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := c.ReviewToken(ctx, authn.TokenReviewSpec{Token: theirToken})
			ended <- err
		}()
		<-arrived
		leave(w, c, s, func() {
			cancel()
			if err := <-ended; err == nil {
				t.Errorf("%s: an answer", name)
			}
		})
		p := s.static.pool.Load()
		p.mu.Lock()
		if n := len(p.open); n > 0 || p.users > 0 {
			t.Errorf("%s: %d connections are left, with %d users", name, n, p.users)
		}
		p.mu.Unlock()
		if conn, err := p.DialContext(t.Context(), "tcp", s.server.Host); err == nil {
			conn.Close()
			t.Errorf("%s: a connection that comes late stays", name)
		}
	}
}

// Whoever still uses a session that was left can do so, and its connections do
// not stay either.
func TestAPoolThatIsLeftCanBeUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(w.kubeconfig("token: " + ourToken))
	s, err := c.session()
	must(t, err)
	mustReview(t, c)
	used := s.static.pool.Load()
	s.retire()
	if used.enter() || len(used.open) > 0 {
		t.Errorf("a pool that was left can still be entered, or has %d connections", len(used.open))
	}
	for range 2 {
		mustReview(t, c)
		if len(used.open) > 0 {
			t.Errorf("%d connections are left", len(used.open))
		}
	}
}
