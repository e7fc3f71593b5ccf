package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	linger   = 5 * time.Second // that a client may go on with a body that was answered
	maxHints = 5               // early answers that pass, as many as net/http's client takes by itself
)

// exchange is a request and its answer, and what limits their time: a timer that
// starts again whenever something flows, in place of the deadlines that
// [http.Server] sets for the whole.
type exchange struct {
	http.ResponseWriter
	*http.ResponseController
	cancel context.CancelFunc
	idle   time.Duration
	total  time.Duration // that the server gives an answer; 0 is no limit
	own    http.Header   // what those in front say in the answer
	hints  int           // that came
	old    bool          // the client speaks HTTP/1.0

	unread  atomic.Bool // there is more of an HTTP/1 body
	badBody atomic.Bool // reading it failed
	empty   atomic.Bool // the answer has no body

	mu    sync.Mutex
	timer *time.Timer
	over  bool // the ResponseWriter must not be used any more
}

type exchangeKey struct{}

// begin returns an exchange, and its request.
func (p *Proxy) begin(w http.ResponseWriter, r *http.Request) (*exchange, *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	x := &exchange{ResponseWriter: w, ResponseController: http.NewResponseController(w), cancel: cancel, idle: p.idle, own: maps.Clone(w.Header()), old: !r.ProtoAtLeast(1, 1)}
	if server, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok {
		x.total = server.WriteTimeout
	}
	r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
	x.setDeadlines(time.Time{})
	x.timer = time.AfterFunc(x.idle, x.cut)
	if r.ContentLength != 0 && r.Body != nil {
		x.EnableFullDuplex()
		x.unread.Store(r.ProtoMajor == 1)
		r.Body = &body{ReadCloser: r.Body, exchange: x, received: r.Trailer}
	}
	return x, r
}

func (x *exchange) setDeadlines(t time.Time) {
	x.SetReadDeadline(t)
	x.SetWriteDeadline(t)
}

// touch is called whenever something flowed.
func (x *exchange) touch() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.timer.Reset(x.idle)
	}
}

// cut ends an exchange from outside, whatever it waits for.
func (x *exchange) cut() {
	x.cancel()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.setDeadlines(time.Unix(1, 0))
	}
}

// end gives the server its deadline back, which then sends the end of the answer.
func (x *exchange) end() {
	x.cancel()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	x.timer.Stop()
	if x.total > 0 {
		x.SetWriteDeadline(time.Now().Add(x.total))
	}
	if x.unread.Load() {
		x.SetReadDeadline(time.Now().Add(linger))
	}
}

// WriteHeader sees to it that net/http does not look for the next request on a
// connection whose client is answered while it still sends: it may find what a
// reader of the body left (golang/go#68560).
func (x *exchange) WriteHeader(code int) {
	if code < http.StatusOK {
		x.hint(code)
		return
	}
	maps.Copy(x.Header(), x.own) // ReverseProxy empties it after a hint
	if x.unread.Load() {
		x.Header().Set("Connection", "close")
	}
	x.ResponseWriter.WriteHeader(code)
}

// hint passes an early answer on, to clients that know of such, except 100: the
// server in front says that by itself, when the body is read. Of its header only
// the links pass: nobody else removes the hop-by-hop ones.
func (x *exchange) hint(code int) {
	if x.hints++; x.hints > maxHints || x.old || code == http.StatusContinue {
		return
	}
	maps.DeleteFunc(x.Header(), func(name string, _ []string) bool { return name != "Link" })
	x.ResponseWriter.WriteHeader(code)
}

func (x *exchange) Write(p []byte) (int, error) {
	x.touch()
	return x.ResponseWriter.Write(p)
}

// FlushError sends what was written so far. Of an answer without a body that is
// nothing yet: its header is to be its end too, as of an error of gRPC.
func (x *exchange) FlushError() error {
	if x.empty.Load() {
		return nil
	}
	return x.ResponseController.Flush()
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Hijack gives the client's connection to a tunnel, once the upstream said 101
// to the protocol that was asked for.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := x.ResponseController.Hijack()
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
		b.exchange.unread.Store(false)
	} else if err != nil {
		b.exchange.badBody.Store(true)
	}
	return n, err
}
