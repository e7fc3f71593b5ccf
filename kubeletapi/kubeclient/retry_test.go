package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/kubeletapi/internal/ttlcache"
)

// play makes the outcome that a word of a script describes: a code, with
// +N for Retry-After: N, or the name of a network failure.
func play(word string) error {
	network := func(err error) error { return &url.Error{Op: "Post", URL: "https://h", Err: err} }
	switch word {
	case "ECONNREFUSED":
		return network(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	case "ECONNRESET":
		return network(&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)})
	case "EPIPE":
		return network(&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)})
	case "EOF":
		return network(io.EOF)
	case "LOST":
		return network(errors.New("http2: client connection lost"))
	case "DNS":
		return network(&net.DNSError{Err: "no such host", Name: "h", IsNotFound: true})
	case "TLS":
		return network(errors.New("remote error: tls: bad certificate"))
	}
	word, body, _ := strings.Cut(word, "=")
	code, after, hasAfter := strings.Cut(word, "+")
	resp := &http.Response{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: &http.Request{URL: &url.URL{Scheme: "https", Host: "h"}}}
	resp.StatusCode, _ = strconv.Atoi(code)
	if hasAfter {
		resp.Header.Set("Retry-After", after)
	}
	if resp.StatusCode == 201 {
		return nil
	}
	_, err := readAnswer(resp)
	return err
}

func failure(reason, details string) string {
	return fmt.Sprintf(`={"kind":"Status","status":"Failure","reason":%q%s}`, reason, details)
}

func TestRetry(t *testing.T) {
	const (
		ms = time.Millisecond
		s  = time.Second
	)
	long := strings.Repeat(" 429+0", 10)
	for _, test := range []struct {
		id       string
		script   string // its last word repeats
		attempts int
		ok       bool
		min, max time.Duration // of all sleeping
	}{
		{"tokenreview-011", "500 201", 2, true, 500 * ms, 600 * ms},
		{"tokenreview-014", "503", 1, false, 0, 0},
		{"tokenreview-015", "503+1 201", 2, true, s, s},
		{"tokenreview-017", "429 201", 2, true, 500 * ms, 600 * ms},
		{"tokenreview-018", "400", 1, false, 0, 0},
		{"tokenreview-019", "401", 1, false, 0, 0},
		{"tokenreview-022", "409", 1, false, 0, 0},
		{"tokenreview-025", "ECONNREFUSED", 1, false, 0, 0},
		{"five attempts", "500", 5, false, 4062 * ms, 4875 * ms},
		{"four failures", "500 501 502 504 201", 5, true, 4062 * ms, 4875 * ms},
		{"505", "505 201", 2, true, 500 * ms, 600 * ms},
		{"403", "403", 1, false, 0, 0},
		{"404", "404", 1, false, 0, 0},
		{"422", "422", 1, false, 0, 0},
		{"408", "408", 1, false, 0, 0},
		{"reset", "ECONNRESET ECONNRESET 201", 3, true, 1250 * ms, 1500 * ms},
		{"closed before we knew", "EPIPE 201", 2, true, 500 * ms, 600 * ms},
		{"lost", "LOST 201", 2, true, 500 * ms, 600 * ms},
		{"EOF", "EOF", 1, false, 0, 0},
		{"DNS", "DNS", 1, false, 0, 0},
		{"TLS", "TLS", 1, false, 0, 0},
		{"Retry-After: 0", "500+0 201", 2, true, 0, 0},
		{"ten inner retries, five times", "429+0", 55, false, 4062 * ms, 4875 * ms},
		{"ten inner retries, and one outer", "429+0" + long + " 201", 12, true, 500 * ms, 600 * ms},
		{"a date", "503+Wed,_21_Oct_2015_07:28:00_GMT", 1, false, 0, 0},
		{"a fraction", "503+1.5", 1, false, 0, 0},
		{"negative", "500+-5 201", 2, true, 0, 0},
		{"Retry-After does not make a 400 pass", "400+1" + failure("BadRequest", ""), 1, false, 0, 0},
		{"Retry-After past the deadline", "503+30", 1, false, 0, 0},
		{"more seconds than there are", "503+9223372036854775807", 1, false, 0, 0},
		{"Retry-After up to the deadline", "503+4", 3, false, 8 * s, 8 * s},
		{"the reason decides", "500" + failure("Forbidden", ""), 1, false, 0, 0},
		{"the reason decides, too", "400" + failure("InternalError", "") + " 201", 2, true, 500 * ms, 600 * ms},
		{"Timeout", "400" + failure("Timeout", "") + " 201", 2, true, 500 * ms, 600 * ms},
		{"a reason that nobody knows", "500" + failure("Moon", "") + " 201", 2, true, 500 * ms, 600 * ms},
		{"a reason that nobody knows, with 502", "502" + failure("Moon", ""), 1, false, 0, 0},
		{"the Status's own code", "400" + failure("", `,"code":500`) + " 201", 2, true, 500 * ms, 600 * ms},
		{"the Status's own code, too", "500" + failure("", `,"code":409`), 1, false, 0, 0},
		{"the reason beats the code", "400" + failure("Forbidden", `,"code":500`), 1, false, 0, 0},
		{"other letters", "400" + `={"kind":"Status","status":"Failure","Reason":"InternalError"}`, 1, false, 0, 0},
		{"429 is the code alone", "429" + failure("Forbidden", "") + " 201", 2, true, 500 * ms, 600 * ms},
		{"retryAfterSeconds", "409" + failure("Conflict", `,"details":{"retryAfterSeconds":3}`) + " 201", 2, true, 500 * ms, 600 * ms},
		{"retryAfterSeconds: 0", "409" + failure("Conflict", `,"details":{"retryAfterSeconds":0}`), 1, false, 0, 0},
		{"ServerTimeout with details", "503" + failure("ServerTimeout", `,"details":{}`) + " 201", 2, true, 500 * ms, 600 * ms},
		{"ServerTimeout without", "503" + failure("ServerTimeout", ""), 1, false, 0, 0},
	} {
		t.Run(test.id, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), defaultTimeout)
				defer cancel()
				words, attempts, start := strings.Fields(test.script), 0, time.Now()
				err := retry(ctx, func() error {
					word := words[min(attempts, len(words)-1)]
					attempts++
					return play(word)
				})
				slept := time.Since(start)
				if attempts != test.attempts || (err == nil) != test.ok || slept < test.min || slept > test.max {
					t.Errorf("%d attempts, slept %v, error %v; want %d attempts, %v to %v, success %v", attempts, slept, err, test.attempts, test.min, test.max, test.ok)
				}
			})
		})
	}
}

// What the API server said is worth more than that time ran out.
func TestLastReviewErrorIsPreferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		tries := 0
		err := retry(ctx, func() error {
			if tries++; tries == 1 {
				return play("500")
			}
			<-ctx.Done()
			return ctx.Err()
		})
		var status *StatusError
		if !errors.As(err, &status) || status.Code != 500 || tries != 2 {
			t.Errorf("after %d tries: %v, want the 500", tries, err)
		}
	})
}

func TestCancelEndsASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		start := time.Now()
		err := retry(ctx, func() error { return play("503+9") })
		if took := time.Since(start); err == nil || took != 100*time.Millisecond {
			t.Errorf("%v after %v, want an error after 100ms", err, took)
		}
	})
}

// Whoever has failed all the time is asked once per review, until an answer comes.
func TestTroubleEndsRetries(t *testing.T) {
	for _, test := range []struct {
		name, script string // of words with how often they come
		tries        []int  // of each review
	}{
		{"an answer between failures", "500*3 201*1 500*19 201*1 500*9", []int{4, 5, 5, 5, 5, 5, 5}},
		{"failures only", "500*29", []int{5, 5, 5, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"no retry is due", "ECONNREFUSED*19 500*9", []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 1, 1, 1, 1}},
		{"refused with a time to come back", "ECONNREFUSED*20 503+1*2", []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"well again", "500*25 201*1 500*3 201*1", []int{5, 5, 5, 5, 1, 1, 1, 1, 1, 1, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var script []string
				for _, word := range strings.Fields(test.script) {
					word, times, _ := strings.Cut(word, "*")
					n, _ := strconv.Atoi(times)
					script = append(script, slices.Repeat([]string{word}, n)...)
				}
				trouble := trouble{failed: ttlcache.NewTable[error](maxRemembered)}
				var tries []int
				for len(script) > 0 {
					n := 0
					question := func() ttlcache.Key { return ttlcache.Key{byte(len(tries))} }
					trouble.retry(t.Context(), question, func() error {
						word := "201"
						if len(script) > 0 {
							word, script = script[0], script[1:]
						}
						n++
						return play(word)
					})
					tries = append(tries, n)
				}
				if !slices.Equal(tries, test.tries) {
					t.Errorf("%v tries, want %v", tries, test.tries)
				}
			})
		})
	}
}

// In trouble, a question that failed at once is not asked by everyone who asks it.
// That holds up no other question, nor itself once the trouble is over.
func TestTroubleSpacesTries(t *testing.T) {
	const (
		ms  = time.Millisecond
		all = -1
	)
	for _, test := range []struct {
		name      string
		failures  int           // before
		questions int           // asked in turn
		every     time.Duration // one after the other
		lasts     time.Duration // of an attempt
		most      int           // tries within 10 s; or all of them
	}{
		{"one question, asked all the time", maxFailures, 1, ms, 0, 41},
		{"a try takes a while", maxFailures, 1, ms, 20 * ms, 40},
		{"one question, now and then", maxFailures, 1, 300 * ms, 0, all},
		{"ten questions", maxFailures, 10, ms, 0, 410},
		{"many questions", maxFailures, 500, ms / 3, 0, 20_500},
		{"more questions than are remembered", maxFailures, maxRemembered + 1, ms, 0, all},
		{"not in trouble yet", 0, 1, 5 * time.Second, 0, all},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trouble := trouble{failed: ttlcache.NewTable[error](maxRemembered)}
				trouble.failures.Store(int64(test.failures))
				asked, tries, down := 0, 0, true
				ask := func(q int) error {
					return trouble.retry(t.Context(), func() ttlcache.Key { return ttlcache.Key{byte(q), byte(q >> 8)} }, func() error {
						tries++
						if time.Sleep(test.lasts); down {
							return fmt.Errorf("%w: %d", play("503"), q)
						}
						return nil
					})
				}
				for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(test.every) {
					q := asked % test.questions
					asked++
					if err := ask(q); err == nil || !strings.HasSuffix(err.Error(), fmt.Sprint(": ", q)) {
						t.Fatalf("question %d: %v", q, err)
					}
				}
				most := test.most
				if most == all {
					most = asked
				}
				if tries > most || test.most == all && tries < asked {
					t.Errorf("%d tries of %d questions, want %d", tries, asked, most)
				}
				if trouble.failed.Len() > maxRemembered {
					t.Errorf("%d failures are remembered", trouble.failed.Len())
				}
				ask(0)
				down = false
				if err := ask(maxRemembered + 2); err != nil {
					t.Errorf("a question that was never asked: %v", err)
				}
				if err := ask(0); err != nil {
					t.Errorf("the same question after an answer to another: %v", err)
				}
			})
		})
	}
}

func TestTroubleIsOverSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trouble := trouble{failed: ttlcache.NewTable[error](maxRemembered)}
		trouble.failures.Store(maxFailures)
		question := func() ttlcache.Key { return ttlcache.Key{} }
		trouble.retry(t.Context(), question, func() error { return play("503") })
		start := time.Now()
		for trouble.retry(t.Context(), question, func() error { return nil }) != nil {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(start); took != failurePause {
			t.Errorf("well again after %v, want %v", took, failurePause)
		}
		// Who leaves says nothing about the API server.
		trouble.failures.Store(maxFailures)
		gone, leave := context.WithCancel(t.Context())
		leave()
		trouble.retry(gone, question, func() error { return gone.Err() })
		if err := trouble.retry(t.Context(), question, func() error { return nil }); err != nil {
			t.Errorf("somebody else's %v", err)
		}
		for range maxFailures {
			trouble.retry(gone, question, func() error { return gone.Err() })
		}
		if n := trouble.failures.Load(); n != 0 {
			t.Errorf("%d failures of the API server, which were of callers who left", n)
		}
	})
}

// Whoever is refused at once and asks again at once has few reviews sent.
func TestReviewsInTroubleAreFew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setAnswer(with(503, ""))
	c := w.tokenClient()
	start, asked := time.Now(), 0
	for ; asked < 1000 || time.Since(start) < time.Second; asked++ {
		_, err := reviewToken(c)
		mustFail(t, err, "503")
	}
	most := maxFailures + 1 + int(time.Since(start)/failurePause)
	if sent := len(w.arrived()); sent > most {
		t.Errorf("%d reviews for %d questions, want %d at most", sent, asked, most)
	}
	w.setAnswer(yes)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := reviewToken(c); err == nil || time.Since(start) > 20*time.Second {
			break
		}
	}
	mustReview(t, c)
}
