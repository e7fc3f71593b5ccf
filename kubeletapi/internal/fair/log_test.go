package fair

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What net/http has to say is bounded, in lines and in the length of each.
func TestErrorLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no time passes
		const burst = 200
		var out bytes.Buffer
		logger := NewErrorLog(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), 20, burst)
		for i := range 2 * burst {
			logger.Printf("http: TLS handshake error from 192.0.2.7:%d: EOF", i)
			logger.Printf("http: panic serving 192.0.2.7:%d: %s", i, strings.Repeat("€", 10<<10))
		}
		for _, what := range []string{"DEBUG", "ERROR"} {
			if n := strings.Count(out.String(), "level="+what); n != burst {
				t.Errorf("%d lines at level %s", n, what)
			}
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > maxErrorBytes+1000 {
				t.Fatalf("a line of %d bytes", len(line))
			}
		}
	})
}

// The first record after some that were dropped says how many, and the next does not.
func TestLogSaysWhatWasDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(NewLogHandler(slog.NewTextHandler(&out, nil), 1, 1))
		for _, pause := range []time.Duration{0, 0, 0, time.Second, time.Second} {
			time.Sleep(pause)
			logger.Info("x")
		}
		if got := out.String(); strings.Count(got, "msg=x") != 3 || strings.Count(got, "dropped=") != 1 || !strings.Contains(got, "dropped=2\n") {
			t.Error(got)
		}
	})
}
