package apiservertest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Fault is what goes wrong with an answer. Its fields combine; each that is
// unset leaves its part of the answer as it should be, and the zero Fault is
// none at all.
type Fault struct {
	// Times is how many requests meet the fault; zero or less: all of them.
	Times int

	Latency time.Duration // wait this long first; ends early when the client leaves

	// Hang, unless nil, holds requests up until it is closed; a value sent to it
	// lets one of them go. A client that leaves and [Server.Stop] end the wait too.
	Hang <-chan struct{}

	Status     int    // HTTP status from 200 to 599; without Body, with a Status object to match
	RetryAfter int    // seconds in the header Retry-After; zero: no such header
	Redirect   string // the header Location; without Status, 307
	Body       string // exactly this body

	Break     Break         // what happens to the body or the connection
	SlowBytes time.Duration // pause before each byte of the body
}

// Break is what happens to the body of an answer, or to its connection. The
// zero value is nothing.
type Break int

const (
	// BreakReset sends half of the body, then resets the TCP connection, with
	// everything else on it. The client may or may not see the half, and may see
	// an unexpected end in place of the reset if it was writing.
	BreakReset Break = iota + 1
	// BreakStream sends half of the body, and then ends with an error the HTTP/2
	// stream alone, or the HTTP/1.1 connection.
	BreakStream
	// BreakClose closes the TCP connection before any answer.
	BreakClose
	// BreakTruncate sends half of the body as if it were whole.
	BreakTruncate
	// BreakOversize puts 8 MiB of padding into the JSON, which stays valid.
	BreakOversize
	// BreakKind answers with a PodList.
	BreakKind
	// BreakEmpty sends no body.
	BreakEmpty
	// BreakContradict answers that access is allowed and denied at once, and
	// that a token is authenticated but nobody's.
	BreakContradict
)

const oversize = 8 << 20

// faults are those in force, by resource or resource/version.
type faults struct {
	mu     sync.Mutex // guards what follows
	queues map[string][]Fault
}

// Inject puts faults, one after the other, in front of the answers for a
// resource, in place of those injected for it before; without any, its answers
// are good again. The resource is [TokenReviews] or [SubjectAccessReviews], in
// one version alone if that is appended, as in "tokenreviews/v1"; faults for
// one version go before those for all. It panics on any other resource. A request
// that met its fault already keeps it.
//
// An API server that knows only v1beta1, for instance:
//
//	api.Inject("tokenreviews/v1", apiservertest.Fault{Status: 404})
func (s *Server) Inject(resource string, sequence ...Fault) {
	mustKnow(resource)
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.queues[resource] = slices.Clone(sequence)
}

// next returns the fault that a request for e meets, and uses it up.
func (f *faults) next(e endpoint) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range []string{e.resource + "/" + e.version, e.resource} {
		if queue := f.queues[key]; len(queue) > 0 {
			fault := queue[0]
			if queue[0].Times--; queue[0].Times == 0 { // if it was positive
				f.queues[key] = queue[1:]
			}
			return fault
		}
	}
	return Fault{}
}

// wait holds a request up; false: it ended meanwhile.
func (f Fault) wait(ctx context.Context) bool {
	return pause(ctx, f.Latency) && (f.Hang == nil || receive(ctx, f.Hang))
}

// pause waits for d; false: ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	return receive(ctx, time.After(d))
}

// receive waits for c; false: ctx ended meanwhile.
func receive[T any](ctx context.Context, c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// write sends the answer, with the fault in it.
func (f Fault) write(w http.ResponseWriter, r *http.Request, e endpoint, code int, body []byte) {
	if f.Break == BreakClose {
		cut(r.Context(), false)
	}
	code, body = f.replace(e, code, body)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache, private")
	if f.RetryAfter != 0 {
		h.Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if f.Redirect != "" {
		h.Set("Location", f.Redirect)
	}
	if code != http.StatusNoContent && code != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(code)
	if f.Break != BreakReset && f.Break != BreakStream {
		f.send(r.Context(), w, body)
		return
	}
	f.send(r.Context(), w, body[:len(body)/2])
	http.NewResponseController(w).Flush() // the client may be gone: nothing to do about it
	if f.Break == BreakStream {
		panic(http.ErrAbortHandler)
	}
	cut(r.Context(), true)
}

// replace returns the status code and the body that are sent instead.
func (f Fault) replace(e endpoint, code int, body []byte) (int, []byte) {
	if f.Redirect != "" {
		code, body = http.StatusTemporaryRedirect, nil
	}
	if f.Status != 0 {
		code, body = f.Status, encode(generic(f.Status, e))
	}
	if f.Body != "" {
		body = []byte(f.Body)
	}
	switch f.Break {
	case BreakTruncate:
		body = body[:len(body)/2]
	case BreakOversize:
		padding := append(bytes.Repeat([]byte{'x'}, oversize), `",`...)
		body = slices.Concat([]byte(`{"padding":"`), padding, bytes.TrimPrefix(body, []byte("{")))
	case BreakKind:
		body = []byte(`{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}` + "\n")
	case BreakEmpty:
		body = nil
	}
	return code, body
}

func (f Fault) send(ctx context.Context, w http.ResponseWriter, body []byte) {
	if f.SlowBytes <= 0 {
		// A client that is gone is no concern of ours. net/http keeps the last piece
		// that it did not take, and so it gets small ones.
		io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(body)}, make([]byte, min(32<<10, len(body)+1)))
		return
	}
	flush := http.NewResponseController(w).Flush
	for i := range body {
		if !pause(ctx, f.SlowBytes) {
			panic(http.ErrAbortHandler)
		}
		w.Write(body[i : i+1])
		flush()
	}
}

type connKey struct{}

// cut closes the connection of a request under the feet of TLS and HTTP, and
// does not return.
func cut(ctx context.Context, reset bool) {
	if c, ok := ctx.Value(connKey{}).(net.Conn); ok {
		tcp := wireOf(c)
		if reset {
			tcp.SetLinger(0)
		} else {
			tcp.CloseWrite() // the end goes out before the reset that unread bytes would cause
		}
		tcp.Close()
	}
	panic(http.ErrAbortHandler)
}
