// Package responsewriter notes what a handler answers.
package responsewriter

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
)

// Writer notes the code of an answer that it passes on.
type Writer struct {
	http.ResponseWriter
	Upgraded func() // called when the handler leaves HTTP, if set

	code atomic.Int32
}

// Code returns the code, or 0 if the answer has not begun. It is safe to call at any
// time.
func (w *Writer) Code() int { return int(w.code.Load()) }

// End says that the handler has returned: what it did not give a code has 200.
func (w *Writer) End() { w.code.CompareAndSwap(0, http.StatusOK) }

// WriteHeader notes the code, of those that are not final only 101.
func (w *Writer) WriteHeader(code int) {
	upgrade := code == http.StatusSwitchingProtocols
	if code >= 200 || upgrade {
		w.code.CompareAndSwap(0, int32(code))
	}
	if w.ResponseWriter.WriteHeader(code); upgrade && w.Upgraded != nil {
		w.Upgraded()
	}
}

// Unwrap is for [http.ResponseController].
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for handlers that know no http.ResponseController.
func (w *Writer) Flush() { http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack is too. Over HTTP/2 it is an error.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.code.CompareAndSwap(0, http.StatusSwitchingProtocols) && w.Upgraded != nil {
		w.Upgraded()
	}
	return conn, rw, err
}
