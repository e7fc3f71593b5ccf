package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	soon     = 100 * time.Millisecond // after which an exchange is looked at first
	short    = time.Minute            // of the server's time, as little may be left of it when an exchange begins
	linger   = 5 * time.Second        // that a client may go on with a body that was answered
	maxHints = 5                      // early answers that pass, as many as net/http's client takes by itself
)

// exchange is a request and its answer, and what limits their time: how long
// nothing flows, in place of the deadlines that [http.Server] sets for the whole.
// They are taken away when it is first looked at: most have ended by then.
type exchange struct {
	http.ResponseWriter
	proxy   *Proxy
	request *http.Request // the client's
	watch   *watch
	cancel  context.CancelFunc
	total   time.Duration // that the server gives an answer; 0 is no limit
	own     http.Header   // what those in front say in the answer
	hints   int           // that came

	flowed   atomic.Int64 // when something did last, since the proxy was made
	unread   atomic.Bool  // there is more of the body
	badBody  atomic.Bool  // reading it failed
	answered atomic.Bool  // the upstream did, or never will
	late     atomic.Bool  // it did not in time
	old      atomic.Bool  // the server's deadlines are taken away

	out  sync.Mutex // held to write the answer, for as long as the client lets it
	held bool       // something was written and not sent: what follows should be about to come
	rest int64      // of the body; negative if that is not known
}

type exchangeKey struct{}

// begin returns an exchange, and its request.
func (p *Proxy) begin(w http.ResponseWriter, r *http.Request) (*exchange, *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	x := &exchange{ResponseWriter: w, proxy: p, request: r, cancel: cancel}
	if len(w.Header()) > 0 {
		x.own = maps.Clone(w.Header())
	}
	r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
	x.touch()
	if r.ContentLength != 0 && r.Body != nil {
		x.control().EnableFullDuplex()
		x.control().SetReadDeadline(time.Time{}) // others may have little of it left
		x.unread.Store(true)
		r.Body = &body{ReadCloser: r.Body, exchange: x, received: r.Trailer}
	}
	if s, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok && s.WriteTimeout > 0 {
		if x.total = s.WriteTimeout; x.total < short {
			x.free()
		}
	}
	x.watch = p.watches.Get().(*watch)
	x.watch.begin(x)
	return x, r
}

// free takes the server's deadlines away. A stream of HTTP/2 keeps one that never
// comes: net/http then sees that it was closed before end, and sets none that would
// keep it.
func (x *exchange) free() {
	x.old.Store(true)
	never := time.Time{}
	if x.total > 0 && x.request.ProtoMajor > 1 {
		never = time.Now().Add(math.MaxInt64)
	}
	x.control().SetReadDeadline(time.Time{})
	x.control().SetWriteDeadline(never)
}

// control is that of the server's ResponseWriter.
func (x *exchange) control() *http.ResponseController {
	return http.NewResponseController(x.ResponseWriter)
}

func (x *exchange) setDeadlines(t time.Time) {
	x.control().SetReadDeadline(t)
	x.control().SetWriteDeadline(t)
}

// touch is called whenever something flowed.
func (x *exchange) touch() { x.flowed.Store(int64(time.Since(x.proxy.made))) }

// limit is how long it may be that nothing flows.
func (x *exchange) limit() time.Duration {
	if x.unread.Load() || x.answered.Load() {
		return x.proxy.config.IdleTimeout
	}
	return min(x.proxy.config.IdleTimeout, x.proxy.config.Timeout)
}

// left is what is left of limit.
func (x *exchange) left() time.Duration {
	flowed := time.Duration(x.flowed.Load()) // before the clock is read: it must not be later
	return x.limit() - (time.Since(x.proxy.made) - flowed)
}

// sent is called once all of a body is on its way.
func (x *exchange) sent() {
	x.unread.Store(false)
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	if x.watch.exchange == x && x.old.Load() {
		x.watch.again(x.limit())
	}
}

// stop ends an exchange that has no time left: with an answer, if that is what the
// upstream owes.
func (x *exchange) stop() {
	if x.limit() < x.proxy.config.IdleTimeout {
		x.late.Store(true)
	} else {
		x.setDeadlines(time.Unix(1, 0))
	}
	x.cancel()
}

// cut ends an exchange from outside, whatever it waits for.
func (x *exchange) cut() {
	x.cancel()
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	if x.watch.exchange == x {
		x.setDeadlines(time.Unix(1, 0))
	}
}

// end gives the server its deadline back, which then sends the end of the answer.
func (x *exchange) end() {
	x.cancel()
	x.out.Lock() // may wait for sendHeld
	x.held = false
	x.out.Unlock()
	x.watch.end()
	x.proxy.watches.Put(x.watch)
	if x.old.Load() && x.total > 0 {
		x.control().SetWriteDeadline(time.Now().Add(x.total))
	}
	if x.lingers() {
		control := http.NewResponseController(innermost(x.ResponseWriter)) // not a deadline: net/http takes it away where the body is being read
		time.AfterFunc(linger, func() { control.SetReadDeadline(time.Unix(1, 0)) })
	}
}

// innermost is the server's own: those around it may be another request's later.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// lingers reports whether a client of HTTP/1 still sends.
func (x *exchange) lingers() bool { return x.unread.Load() && x.request.ProtoMajor == 1 }

// WriteHeader sees to it that net/http does not look for the next request on a
// connection whose client is answered while it still sends: it may find what a
// reader of the body left (golang/go#68560).
func (x *exchange) WriteHeader(code int) {
	if code < http.StatusOK {
		x.hint(code)
		return
	}
	maps.Copy(x.Header(), x.own) // ReverseProxy empties it after a hint
	if x.lingers() {
		x.Header().Set("Connection", "close")
	}
	x.writeHeader(code)
	if x.old.Load() {
		x.sendHeld()
	}
}

func (x *exchange) writeHeader(code int) {
	x.out.Lock()
	defer x.out.Unlock()
	x.ResponseWriter.WriteHeader(code)
	x.held = x.rest > 0
}

// sendHeld sends a header that its body does not follow at once, and a body that
// its end does not.
func (x *exchange) sendHeld() {
	if x.out.TryLock() { // else more is on its way
		defer x.out.Unlock()
		if x.held {
			x.held = false
			x.control().Flush()
		}
	}
}

// hint passes an early answer on, to clients that know of such, except 100: the
// server in front says that by itself, when the body is read. Of its header only
// the links pass: nobody else removes the hop-by-hop ones.
func (x *exchange) hint(code int) {
	if x.hints++; x.hints > maxHints || !x.request.ProtoAtLeast(1, 1) || code == http.StatusContinue {
		return
	}
	maps.DeleteFunc(x.Header(), func(name string, _ []string) bool { return name != "Link" })
	x.ResponseWriter.WriteHeader(code)
}

// Write sends p at once, unless that is the end of the answer, which net/http
// sends: a small one goes in one piece. One of unknown length is ReverseProxy's to
// flush.
func (x *exchange) Write(p []byte) (int, error) {
	x.touch()
	n, err := x.write(p)
	if x.old.Load() {
		x.sendHeld()
	}
	return n, err
}

func (x *exchange) write(p []byte) (int, error) {
	x.out.Lock()
	defer x.out.Unlock()
	n, err := x.ResponseWriter.Write(p)
	x.rest -= int64(n)
	if x.held = x.rest == 0; err == nil && x.rest > 0 {
		err = x.control().Flush()
	}
	return n, err
}

// FlushError is for ReverseProxy.
func (x *exchange) FlushError() error {
	x.out.Lock()
	defer x.out.Unlock()
	x.held = false
	return x.control().Flush()
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Hijack gives the client's connection to a tunnel, once the upstream said 101
// to the protocol that was asked for.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.watch.mu.Lock() // net/http ends its own reading with a deadline, which must stay until it has
	conn, rw, err := x.control().Hijack()
	x.old.Store(true) // it takes them away
	x.watch.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	early := io.LimitReader(rw, int64(rw.Reader.Buffered()))
	return &tunnel{conn, io.MultiReader(early, conn), x}, rw, nil
}

// tunnel is the client's side of an upgraded connection. It ends with either
// side: that one can stop sending and still read, it does not let on.
type tunnel struct {
	net.Conn
	reader   io.Reader
	exchange *exchange
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.reader.Read(p)
	t.exchange.touch()
	if err == io.EOF {
		err = errors.New("the client closed the tunnel")
	}
	return n, err
}

func (t *tunnel) Write(p []byte) (int, error) {
	t.exchange.touch()
	return t.Conn.Write(p)
}

// body is what a client sends, on its way upstream.
type body struct {
	io.ReadCloser
	exchange *exchange
	received http.Header // the client's trailer, once all is read
	trailer  http.Header // the upstream's: what was announced and may pass
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.exchange.touch()
	if err == io.EOF {
		for name := range b.trailer {
			b.trailer[name] = b.received[name]
		}
		b.exchange.sent()
	} else if err != nil {
		b.exchange.badBody.Store(true)
	}
	return n, err
}
