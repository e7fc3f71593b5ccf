package apiservertest

import (
	"fmt"
	"slices"
	"sync"

	"kubeletauth/authn"
)

const (
	// DefaultAudience is the audience of the API server itself, unless
	// [Config.Audiences] says otherwise.
	DefaultAudience = "https://kubernetes.default.svc.cluster.local"

	// DefaultRefusal is what kube-apiserver says of a token that nothing in it
	// recognizes.
	DefaultRefusal = "invalid bearer token"
)

// tokens answers TokenReviews as kube-apiserver does: k8s.io/kubernetes
// pkg/registry/authentication/tokenreview/storage.go over
// pkg/serviceaccount/jwt.go.
type tokens struct {
	own []string // audiences of the server itself; never change

	mu      sync.RWMutex // guards what follows
	known   map[string]identity
	refusal string
}

type identity struct {
	user      authn.UserInfo
	audiences []string
}

// SetToken makes token a good one, of user u. Reviews answer with u just as it
// is; kube-apiserver would add system:authenticated to its groups. Without
// audiences the token is meant for the API server itself. A token set before is
// replaced. What u and audiences refer to must not be changed afterwards.
func (s *Server) SetToken(token string, u authn.UserInfo, audiences ...string) {
	if len(audiences) == 0 {
		audiences = s.tokens.own
	}
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.known[token] = identity{u, audiences}
}

// RevokeToken makes token unknown: reviews from then on refuse it. A token that
// was never set is unknown already.
func (s *Server) RevokeToken(token string) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	delete(s.tokens.known, token)
}

// SetRefusal replaces the error text with which an unknown token is refused,
// at first [DefaultRefusal]. With an empty text the answer has no error, as
// from an authentication webhook.
func (s *Server) SetRefusal(text string) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.refusal = text
}

func (t *tokens) review(spec authn.TokenReviewSpec) authn.TokenReviewStatus {
	t.mu.RLock()
	defer t.mu.RUnlock()
	id, ok := t.known[spec.Token]
	if !ok {
		return authn.TokenReviewStatus{Error: t.refusal}
	}
	wanted := spec.Audiences
	if len(wanted) == 0 {
		wanted = t.own
	}
	met := slices.DeleteFunc(slices.Clone(id.audiences), func(audience string) bool { return !slices.Contains(wanted, audience) })
	if len(met) == 0 {
		return authn.TokenReviewStatus{Error: fmt.Sprintf(
			"token audiences %q is invalid for the target audiences %q", id.audiences, wanted)}
	}
	return authn.TokenReviewStatus{Authenticated: true, User: id.user, Audiences: met}
}
