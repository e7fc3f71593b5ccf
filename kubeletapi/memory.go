package kubeletapi

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/fair"
	"kubeletauth/kubeletapi/internal/ttlcache"
	"kubeletauth/kubeletapi/kubeclient"
)

// decisions are those about one user: a short list, which is read without a
// lock. Users who are equal in all fields share them, whatever their credentials,
// as they share the cache entries of the kubelet's webhook.
type decisions struct {
	first atomic.Pointer[decision]
}

// decision is one answer. It is immutable but for its term and its place in a
// list.
type decision struct {
	term
	next atomic.Pointer[decision] // about the same user
	text unique.Handle[string]    // why; many have the same reason
	place
	allowed bool
}

func newDecision(allowed bool, reason string) *decision {
	return &decision{allowed: allowed, text: unique.Make(reason)}
}

func (d *decision) reason() string { return d.text.Value() }

// place is what a decision in the list is about.
type place struct {
	verb
	subresource
}

func (l *decisions) get(p place) *decision {
	d := l.first.Load()
	for d != nil && d.place != p {
		d = d.next.Load()
	}
	return d
}

// put replaces the decision about the same place. Only one may be put at a time;
// whoever reads the one that is replaced goes on to those behind it.
func (l *decisions) put(d *decision) {
	d.next.Store(l.first.Load())
	l.first.Store(d)
	for other := d; other != nil; other = other.next.Load() {
		if next := other.next.Load(); next != nil && next.place == d.place {
			other.next.Store(next.next.Load())
		}
	}
}

// memory keeps what an Authorizer said, and asks it each question once.
type memory struct {
	authorizedTTL, unauthorizedTTL time.Duration // zero and less: not kept
	staleFor                       time.Duration // how long an answer is repeated where asking anew fails
	logger                         *slog.Logger
	metrics                        *metrics
	seed                           maphash.Seed
	others                         *ttlcache.Table[answer] // what is in no table of decisions
	putting                        sync.Mutex
	reviews                        ttlcache.Group[asked, *decision]
}

// asked is a question that can be remembered: a place in a user's table, or
// attributes that have none there.
type asked struct {
	about *decisions
	place
	own        bool
	attributes [8]string // all but the user and the selectors
	from       string    // of a flight: the host of the strangers who wait for their turn, so that no other's have to
}

type answer struct {
	asked
	*decision
}

// askedOwn returns the question about attributes outside of the table, and
// whether it can be remembered.
func askedOwn(about *decisions, a *authz.Attributes) (q asked, ok bool) {
	q = asked{about: about, own: true, attributes: [8]string{a.Verb, a.Namespace, a.APIGroup, a.APIVersion, a.Resource, a.Subresource, a.Name, a.Path}}
	length := 0
	for _, s := range q.attributes {
		length += len(s)
	}
	return q, about != nil && length <= maxOwnBytes && a.FieldSelector == nil && a.LabelSelector == nil
}

// key may be shared by two questions: whoever looks one up compares them.
func (m *memory) key(q *asked) (key ttlcache.Key) {
	binary.LittleEndian.PutUint64(key[:], maphash.Comparable(m.seed, *q))
	return key
}

// decide returns what is remembered, or else asks. An answer that allows is
// renewed before it is too old; who is refused may wait.
func (m *memory) decide(ctx context.Context, q asked, from string, ask func(context.Context) (*decision, error)) (*decision, error) {
	now, flight := time.Now(), q
	flight.from = from
	d := m.known(&q, now)
	if d == nil || !d.inForce(now) {
		traceOf(ctx).accessReviewed = true
		return m.reviews.Do(ctx, flight, func(ctx context.Context) (*decision, error) {
			if d := m.known(&q, now); d != nil && d.inForce(time.Now()) {
				return d, nil
			}
			return m.review(ctx, &q, ask)
		})
	}
	m.metrics.decisionsKnown.Inc()
	if d.allowed && d.renew(now) {
		m.reviews.Start(q, func(ctx context.Context) (*decision, error) { return m.review(ctx, &q, ask) })
	}
	return d, nil
}

// known returns the decision that is remembered, in force or not.
func (m *memory) known(q *asked, now time.Time) *decision {
	if !q.own {
		return q.about.get(q.place)
	}
	if known, _ := m.others.Get(m.key(q), now); known != nil && known.asked == *q {
		return known.decision
	}
	return nil
}

// review asks and keeps the answer, or takes back the one before if it is not to
// be kept. An error is no answer.
func (m *memory) review(ctx context.Context, q *asked, ask func(context.Context) (*decision, error)) (*decision, error) {
	d, err := ask(ctx)
	now := time.Now()
	switch {
	case err == nil:
	case errors.Is(err, fair.ErrBusy):
		return nil, err
	default:
		if d := m.stale(q, now, err); d != nil {
			m.keep(q, d, now)
			return d, nil
		}
		m.logger.Error("Failed to make webhook authorizer request", "err", clip(err.Error()), kubeclient.Advice(err))
		return nil, err
	}
	ttl := m.unauthorizedTTL
	if d.allowed {
		ttl = m.authorizedTTL
	}
	if ttl > 0 {
		d.begin(now, ttl+1) // to be used at the very moment of its end too
		m.keep(q, d, now)
	} else if before := m.known(q, now); before != nil {
		before.end()
	}
	return d, nil
}

// stale repeats a decision, if it may.
func (m *memory) stale(q *asked, now time.Time, err error) *decision {
	before := m.known(q, now)
	if before == nil {
		return nil
	}
	d := &decision{allowed: before.allowed, text: before.text}
	if !d.repeat(&before.term, m.staleFor, now, err) {
		return nil
	}
	m.metrics.stale.With("subjectaccessreviews").Inc()
	m.logger.Warn("The API server cannot review an access; its last answer stays in force", "err", clip(err.Error()))
	return d
}

func (m *memory) keep(q *asked, d *decision, now time.Time) {
	if q.own {
		kept := *q
		for i, text := range q.attributes {
			kept.attributes[i] = strings.Clone(text) // which may be a part of something longer
		}
		m.others.Put(&ttlcache.Entry[answer]{Key: m.key(q), Value: answer{kept, d}}, now, d.expires.Left(now))
		return
	}
	d.place = q.place
	m.putting.Lock()
	defer m.putting.Unlock()
	q.about.put(d)
}
