package kubeclient

import (
	"context"
	"sync"
)

// owner has the goroutines of a client, and waits for them.
type owner struct {
	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // held while one is started, and while no more may be
	wg     sync.WaitGroup
}

func newOwner() *owner {
	o := &owner{}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// run calls f in a goroutine, with a context that ends with the client, and
// reports whether it did.
func (o *owner) run(f func(ctx context.Context)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed() {
		return false
	}
	o.wg.Go(func() { f(o.ctx) })
	return true
}

func (o *owner) closed() bool { return o.ctx.Err() != nil }

// close ends what runs and waits for it.
func (o *owner) close() {
	o.mu.Lock()
	o.cancel()
	o.mu.Unlock()
	o.wg.Wait()
}
