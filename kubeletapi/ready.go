package kubeletapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
)

// CheckClientCA returns an error if the client CA file cannot be used as it is
// now; what it said before stays in force. Without one, there is nothing wrong.
func (a *Auth) CheckClientCA(context.Context) error {
	if a.clientCA == nil {
		return nil
	}
	a.clientCA.Get()
	return a.clientCA.Err()
}

// CheckAPIServer returns an error if the API server does not review for this
// server: it cannot be reached, does not know this server's credential, or does
// not let it. To find out, it has it review whether system:anonymous may get
// /readyz, or a token of nobody, whatever the answer is: at most every ten
// seconds, or every second as long as that fails. Those who ask meanwhile get
// the last result, and wait for one under way, ten seconds at most. As the result
// is for them too, it does not depend on ctx. Without an API server, there is
// nothing wrong.
func (a *Auth) CheckAPIServer(ctx context.Context) error {
	if a.client == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // the client has its own limit
	return a.lastReview.check(func() error {
		if a.asksAccess {
			_, err := a.client.ReviewAccess(ctx, authz.SubjectAccessReviewSpec{
				User: authn.UserAnonymous, Groups: []string{authn.GroupUnauthenticated},
				NonResourceAttributes: &authz.NonResourceAttributes{Path: "/readyz", Verb: "get"},
			})
			return err
		}
		_, err := a.client.ReviewToken(ctx, authn.TokenReviewSpec{Token: "of-nobody"})
		return err
	})
}

// probe is when something was tried last, and what came of it.
type probe struct {
	mu   sync.Mutex
	next time.Time
	err  error
}

func (p *probe) check(try func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.next) {
		return p.err
	}
	p.err = try()
	p.next = time.Now().Add(10 * time.Second)
	if p.err != nil {
		p.next = time.Now().Add(time.Second)
	}
	return p.err
}

// CheckCertificate returns an error if s does not serve yet, and if the
// certificate that it serves with is not valid at this time.
func (s *Server) CheckCertificate(context.Context) error {
	get := s.certificate.Load()
	if get == nil {
		return errors.New("not serving yet")
	}
	certificate, err := (*get)(&tls.ClientHelloInfo{})
	if err != nil {
		return err
	}
	if now, leaf := time.Now(), certificate.Leaf; now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("the serving certificate is valid from %s to %s", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}
