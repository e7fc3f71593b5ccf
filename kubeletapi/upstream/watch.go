package upstream

import (
	"sync"
	"time"
)

// watch looks after exchanges, one after the other. Its timer runs on from one to
// the next, so that a short one need not start any.
type watch struct {
	mu       sync.Mutex
	exchange *exchange // nil after its end: the ResponseWriter must not be used any more
	timer    *time.Timer
	runs     bool
}

func (w *watch) begin(x *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exchange = x
	if !w.runs {
		w.again(min(soon, x.limit()))
	}
}

func (w *watch) again(d time.Duration) {
	w.runs = true
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.look)
	} else {
		w.timer.Reset(d)
	}
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exchange.old.Load() {
		w.runs = false
		w.timer.Stop()
	}
	w.exchange = nil
}

// look is called when nothing may have flowed for too long, and soon after the
// beginning.
func (w *watch) look() {
	w.mu.Lock()
	x := w.exchange
	if w.runs = x != nil; !w.runs {
		w.mu.Unlock()
		return
	}
	if !x.old.Load() {
		x.free()
	}
	left := x.left()
	if left <= 0 {
		left = x.proxy.config.IdleTimeout // for what is to be said of it
		x.stop()
	}
	w.again(left)
	w.mu.Unlock()
	x.sendHeld()
}
