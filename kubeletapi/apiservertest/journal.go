package apiservertest

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

const maxReviews = 10_000

// Review is a well-formed review that the server received, whether or not it
// accepted the caller and gave an answer. Exactly one of Token and Access is
// set. Treat it as read-only.
type Review struct {
	Time      time.Time
	Resource  string // [TokenReviews] or [SubjectAccessReviews]
	Version   string // v1 or v1beta1
	Protocol  string // HTTP/1.1 or HTTP/2.0
	UserAgent string

	Token  *authn.TokenReviewSpec // with the token in the clear
	Access *authz.SubjectAccessReviewSpec
}

// journal remembers what the server was asked.
type journal struct {
	mu       sync.Mutex // guards what follows
	counts   map[string]int
	now, max int
	reviews  []Review // the oldest first
}

// Count returns how many requests came for a resource: [TokenReviews] or
// [SubjectAccessReviews], in one version if that is appended, as in
// "tokenreviews/v1". Those that were refused or met a fault count too. It
// panics on any other resource.
func (s *Server) Count(resource string) int {
	mustKnow(resource)
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.counts[resource]
}

// InFlight returns how many requests for reviews are being served, and how
// many ever were at the same time.
func (s *Server) InFlight() (now, max int) {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.now, s.journal.max
}

// Reviews returns the last 10,000 reviews, oldest first, with their tokens in
// the clear.
func (s *Server) Reviews() []Review {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return slices.Clone(s.journal.reviews)
}

// begin counts a request; the function it returns ends it.
func (j *journal) begin(e endpoint) (end func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts[e.resource]++
	j.counts[e.resource+"/"+e.version]++
	j.now++
	j.max = max(j.max, j.now)
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.now--
	}
}

func (j *journal) add(r *http.Request, e endpoint, q question) {
	review := Review{
		Time: time.Now(), Resource: e.resource, Version: e.version, Protocol: r.Proto, UserAgent: r.UserAgent(),
		Token: q.token, Access: q.access,
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reviews = append(j.reviews[max(len(j.reviews)+1-maxReviews, 0):], review)
}
