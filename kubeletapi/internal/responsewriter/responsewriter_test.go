package responsewriter

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Each row is what a handler does, and the code that is noted.
func TestCode(t *testing.T) {
	write := func(codes ...int) func(*Writer) {
		return func(w *Writer) {
			for _, code := range codes {
				w.WriteHeader(code)
			}
		}
	}
	for _, test := range []struct {
		name          string
		do            func(*Writer)
		before, after int
		upgraded      bool
	}{
		{"nothing", func(*Writer) {}, 0, 200, false},
		{"a code", write(404), 404, 404, false},
		{"two codes", write(404, 500), 404, 404, false},
		{"early hints", write(103), 0, 200, false},
		{"hints and a code", write(100, 103, 204), 204, 204, false},
		{"an upgrade", write(101), 101, 101, true},
		{"no hijacking", func(w *Writer) {
			if _, _, err := w.Hijack(); err == nil {
				t.Error("a recorder was hijacked")
			}
		}, 0, 200, false},
	} {
		upgraded := false
		w := &Writer{ResponseWriter: httptest.NewRecorder(), Upgraded: func() { upgraded = true }}
		test.do(w)
		if got := w.Code(); got != test.before {
			t.Errorf("%s: %d before the end, want %d", test.name, got, test.before)
		}
		if w.End(); w.Code() != test.after || upgraded != test.upgraded {
			t.Errorf("%s: %d at the end, want %d; upgraded: %t", test.name, w.Code(), test.after, upgraded)
		}
	}
}

// Whoever takes the connection over has left HTTP, once.
func TestHijack(t *testing.T) {
	codes, upgrades := make(chan int, 1), 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writer := &Writer{ResponseWriter: w, Upgraded: func() { upgrades++ }}
		if conn, _, err := writer.Hijack(); err == nil {
			conn.Close()
		}
		writer.Hijack()
		codes <- writer.Code()
	}))
	defer server.Close()
	if response, err := http.Get(server.URL); err == nil {
		response.Body.Close()
	}
	if code := <-codes; code != 101 || upgrades != 1 {
		t.Errorf("%d, and %d upgrades", code, upgrades)
	}
}
