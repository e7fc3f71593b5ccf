package fair

import (
	"net/http"
	"time"
)

// InTime bounds the time that a client takes for a request's body; zero and less is
// no limit. Few requests have one, and [http.Server]'s ReadTimeout would cost all
// the others over HTTP/2 a timer.
func InTime(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && timeout > 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
		}
		next.ServeHTTP(w, r)
	})
}
