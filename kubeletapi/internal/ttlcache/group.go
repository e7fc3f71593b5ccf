package ttlcache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Group asks each question once, however many callers wait for its answer. It
// is safe for concurrent use, and the zero value with a Timeout is ready.
type Group[K comparable, V any] struct {
	// Timeout bounds one flight; it does not depend on any caller's.
	Timeout time.Duration

	mu            sync.Mutex
	flights       map[K]*flight[V]
	ctx           context.Context // of all flights; nil until the first
	end           context.CancelFunc
	closed        bool
	running       sync.WaitGroup
	began, joined atomic.Int64 // by callers of Do
}

type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// Do returns the answer to key, from ask or from a flight that is under way. The
// flight goes on when ctx ends; then only this caller gets ctx's error. A panic
// of ask is an error for everyone who waits, and so is an ask that outstays the
// Timeout. Since the answer may have come between the caller's own look and this
// call, ask should look once more before it asks, and should have stored the answer
// when it returns.
func (g *Group[K, V]) Do(ctx context.Context, key K, ask func(ctx context.Context) (V, error)) (none V, err error) {
	f, began := g.flight(key, ask)
	if began {
		g.began.Add(1)
	} else {
		g.joined.Add(1)
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-time.After(g.Timeout + time.Second):
		return none, context.DeadlineExceeded
	}
}

// Start lets a flight begin, unless one is under way, and does not wait for it.
func (g *Group[K, V]) Start(key K, ask func(ctx context.Context) (V, error)) {
	g.flight(key, ask)
}

func (g *Group[K, V]) flight(key K, ask func(ctx context.Context) (V, error)) (f *flight[V], began bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[key]; f != nil {
		return f, false
	}
	f = &flight[V]{done: make(chan struct{}), err: errors.New("failed unexpectedly")} // unless ask returns
	if g.closed {
		f.err = errors.New("shutting down")
		close(f.done)
		return f, true
	}
	if g.flights == nil {
		g.flights = map[K]*flight[V]{}
		g.ctx, g.end = context.WithCancel(context.Background())
	}
	g.flights[key] = f
	ctx := g.ctx
	g.running.Go(func() { g.fly(ctx, key, f, ask) })
	return f, true
}

func (g *Group[K, V]) fly(ctx context.Context, key K, f *flight[V], ask func(ctx context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer func() {
		if p := recover(); p != nil {
			f.err = panicError(p)
		}
		cancel()
		g.mu.Lock()
		delete(g.flights, key)
		g.mu.Unlock()
		close(f.done)
	}()
	f.value, f.err = ask(ctx)
}

// Len counts the flights under way.
func (g *Group[K, V]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.flights)
}

// Began counts the calls of Do that asked, or were turned away after Close.
func (g *Group[K, V]) Began() int64 { return g.began.Load() }

// Joined counts the calls of Do that waited for a flight under way.
func (g *Group[K, V]) Joined() int64 { return g.joined.Load() }

// Close lets no more flights start, ends those under way, and waits for them.
func (g *Group[K, V]) Close() {
	g.mu.Lock()
	g.closed = true
	if g.end != nil {
		g.end()
	}
	g.mu.Unlock()
	g.running.Wait()
}

// panicError never repeats what a panic says unless the runtime said it: the
// rest may hold a credential.
func panicError(p any) error {
	if err, ok := p.(runtime.Error); ok {
		return fmt.Errorf("failed unexpectedly: %w", err)
	}
	return fmt.Errorf("failed unexpectedly: panic with a %T", p)
}
