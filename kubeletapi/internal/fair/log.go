package fair

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// LogHandler passes a bounded number of records on. The first one after some
// that were dropped says how many, as "dropped". Errors have a bound of their
// own, so that what clients do never hides them.
type LogHandler struct {
	slog.Handler
	limits *[2]logLimit // of what is no error, and of errors
}

type logLimit struct {
	mu      sync.Mutex
	bucket  Bucket
	dropped int
}

// NewLogHandler returns a handler that passes burst records on to next, and rate
// more each second; as many errors too.
func NewLogHandler(next slog.Handler, rate, burst float64) *LogHandler {
	b := Bucket{Rate: rate, Burst: burst}
	return &LogHandler{next, &[2]logLimit{{bucket: b}, {bucket: b}}}
}

// Handle passes the record on or counts it.
func (h *LogHandler) Handle(ctx context.Context, r slog.Record) error {
	limit := &h.limits[0]
	if r.Level >= slog.LevelError {
		limit = &h.limits[1]
	}
	dropped, ok := limit.take()
	if !ok {
		return nil
	}
	if dropped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("dropped", dropped))
	}
	return h.Handler.Handle(ctx, r)
}

func (l *logLimit) take() (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.bucket.Take(time.Now()) {
		l.dropped++
		return 0, false
	}
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}

// WithAttrs shares the bounds of h.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &LogHandler{h.Handler.WithAttrs(attrs), h.limits}
}

// WithGroup shares the bounds of h.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	return &LogHandler{h.Handler.WithGroup(name), h.limits}
}

const maxErrorBytes = 8 << 10 // of one line, with the stack of a panic in it

// NewErrorLog returns an ErrorLog for an [net/http.Server], bounded as a LogHandler
// is: a handler that panics is our fault, and the rest, such as failed handshakes,
// is the Internet's background noise, at level debug.
func NewErrorLog(next slog.Handler, rate, burst float64) *log.Logger {
	return log.New(errorLog{slog.New(NewLogHandler(next, rate, burst))}, "", 0)
}

type errorLog struct{ *slog.Logger }

func (l errorLog) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if strings.HasPrefix(string(line), "http: panic") {
		level = slog.LevelError
	}
	text := strings.ToValidUTF8(string(line[:min(len(line), maxErrorBytes)]), "")
	l.Log(context.Background(), level, strings.TrimSpace(text))
	return len(line), nil
}
