package fair

import (
	"context"
	"net/http"
	"time"
)

// Handler serves the requests of a Listener's connections: it tells these of each
// that is under way, and bounds the time that a body takes. Few requests have one,
// and [http.Server]'s ReadTimeout would cost all the others over HTTP/2 a timer.
type Handler struct {
	Next         http.Handler
	ConnectionOf func(context.Context) *Connection // of a request's context; it may return nil
	BodyTimeout  time.Duration                     // zero and less is no limit
}

// ServeHTTP has Next serve r. It takes little of the stack that is left to Next: a
// handler of HTTP/2 begins on a small one.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.BodyTimeout > 0 && mayHaveBody(r) {
		h.serveBody(w, r)
		return
	}
	if c := h.ConnectionOf(r.Context()); c.Begin() {
		h.serveGuest(w, r, c)
		return
	}
	h.Next.ServeHTTP(w, r)
}

// mayHaveBody reports whether a body may come. Over HTTP/2 that is also one which
// is said to have no bytes, or a length that is no number.
func mayHaveBody(r *http.Request) bool {
	return r.ContentLength != 0 || r.ProtoMajor == 2 && r.Header["Content-Length"] != nil
}

// serveBody serves a request whose body has its time.
func (h *Handler) serveBody(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(h.BodyTimeout))
	if r.ProtoMajor == 2 { // whose timer nothing else stops, if the stream was closed before
		defer control.SetReadDeadline(time.Time{})
	}
	rest := *h
	rest.BodyTimeout = 0
	rest.ServeHTTP(w, r)
}

// serveGuest counts a request for as long as it is under way. Over HTTP/2 that is
// also one whose answer a stranger does not take, which net/http waits for after
// the handler's end. To flush it here instead would end it with a frame of its own,
// which clients of gRPC do not take for the end of a refusal.
func (h *Handler) serveGuest(w http.ResponseWriter, r *http.Request, c *Connection) {
	end := c.End
	defer func() { end() }()
	h.Next.ServeHTTP(w, r)
	_, isHTTP1 := w.(http.Hijacker) // as is PRI * HTTP/2.0, of which nobody would be notified
	//lint:ignore SA1019 the context of r ends before the answer is taken
	if stream, ok := w.(http.CloseNotifier); ok && !isHTTP1 && r.Context().Err() == nil { // else it is closed, and Next may have been told
		taken := stream.CloseNotify()
		end = func() { go func() { <-taken; c.End() }() }
	}
}
