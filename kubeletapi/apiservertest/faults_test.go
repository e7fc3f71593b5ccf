package apiservertest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

// whole is jane's review as it should be.
const whole = `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"jane-token"},"status":{"authenticated":true,"user":{"username":"jane"},"audiences":["https://kubernetes.default.svc.cluster.local"]}}` + "\n"

// Each fault, over HTTP/1.1 and HTTP/2: the request that meets it, and the next.
func TestFaults(t *testing.T) {
	status := func(code int, reason string) string {
		return fmt.Sprintf(`"reason":%q,"details":{},"code":%d`, reason, code)
	}
	type check func(t *testing.T, got answer, http2 bool)
	wants := func(code int, text string) check {
		return func(t *testing.T, got answer, _ bool) { t.Helper(); got.want(t, code, text) }
	}
	exactly := func(code int, body string) check {
		return func(t *testing.T, got answer, _ bool) {
			t.Helper()
			if got.err != nil || got.code != code || got.body != body {
				t.Errorf("got %d %q, error %v", got.code, got.body, got.err)
			}
		}
	}
	header := func(code int, name, value string) check {
		return func(t *testing.T, got answer, _ bool) {
			t.Helper()
			if got.err != nil || got.code != code || got.header.Get(name) != value {
				t.Errorf("got %d with %s %q, error %v", got.code, name, got.header.Get(name), got.err)
			}
		}
	}
	for _, row := range []struct {
		name  string
		fault apiservertest.Fault
		check check
	}{
		{"none", apiservertest.Fault{}, exactly(201, whole)},
		{"latency", apiservertest.Fault{Latency: time.Millisecond}, exactly(201, whole)},
		{"400", apiservertest.Fault{Status: 400}, wants(400, status(400, "BadRequest"))},
		{"401", apiservertest.Fault{Status: 401}, wants(401, `"reason":"Unauthorized","code":401`)},
		{"403", apiservertest.Fault{Status: 403}, wants(403, `"message":"tokenreviews.authentication.k8s.io is forbidden: User \"apiservertest-client\" cannot create resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope"`)},
		{"404", apiservertest.Fault{Status: 404}, wants(404, status(404, "NotFound"))},
		{"409", apiservertest.Fault{Status: 409}, wants(409, status(409, "AlreadyExists"))},
		{"418", apiservertest.Fault{Status: 418}, wants(418, `status code 418 but did not return more information","details":{},"code":418`)},
		{"429", apiservertest.Fault{Status: 429}, wants(429, status(429, "TooManyRequests"))},
		{"429 without Retry-After", apiservertest.Fault{Status: 429}, header(429, "Retry-After", "")},
		{"429 with Retry-After", apiservertest.Fault{Status: 429, RetryAfter: 3}, header(429, "Retry-After", "3")},
		{"500", apiservertest.Fault{Status: 500}, wants(500, status(500, "InternalError"))},
		{"503", apiservertest.Fault{Status: 503, RetryAfter: 1}, wants(503, status(503, "ServiceUnavailable"))},
		{"504", apiservertest.Fault{Status: 504}, wants(504, status(504, "Timeout"))},
		{"a status with a body", apiservertest.Fault{Status: 429, Body: "Too many requests"}, exactly(429, "Too many requests")},
		{"another body", apiservertest.Fault{Body: "<html>"}, exactly(201, "<html>")},
		{"no content", apiservertest.Fault{Status: 204}, exactly(204, "")},
		{"redirect", apiservertest.Fault{Redirect: "https://evil.example/"}, header(307, "Location", "https://evil.example/")},
		{"permanent redirect", apiservertest.Fault{Redirect: "/x", Status: 301}, header(301, "Location", "/x")},
		{"truncated", apiservertest.Fault{Break: apiservertest.BreakTruncate}, exactly(201, whole[:len(whole)/2])},
		{"oversize", apiservertest.Fault{Break: apiservertest.BreakOversize}, func(t *testing.T, got answer, _ bool) {
			if got.err != nil || len(got.body) != 8<<20+len(`"padding":"",`)+len(whole) || !strings.HasSuffix(got.body, whole[1:]) {
				t.Errorf("got %d bytes, error %v", len(got.body), got.err)
			}
		}},
		{"wrong kind", apiservertest.Fault{Break: apiservertest.BreakKind}, wants(201, `"kind":"PodList"`)},
		{"empty", apiservertest.Fault{Break: apiservertest.BreakEmpty}, exactly(201, "")},
		{"contradiction", apiservertest.Fault{Break: apiservertest.BreakContradict}, wants(201, `"status":{"authenticated":true,"user":{}}}`)},
		{"slow bytes", apiservertest.Fault{SlowBytes: 50 * time.Microsecond}, exactly(201, whole)},
		{"slow bytes of another status", apiservertest.Fault{SlowBytes: time.Microsecond, Status: 503, Body: "slow"}, exactly(503, "slow")},
		{"close", apiservertest.Fault{Break: apiservertest.BreakClose}, func(t *testing.T, got answer, http2 bool) {
			if !errors.Is(got.err, io.EOF) && !errors.Is(got.err, io.ErrUnexpectedEOF) {
				t.Errorf("got %d, error %v; want the end of file", got.code, got.err)
			}
		}},
		{"reset stream", apiservertest.Fault{Break: apiservertest.BreakStream}, func(t *testing.T, got answer, http2 bool) {
			if got.code != 201 || got.body != whole[:len(whole)/2] || got.err == nil || http2 != strings.Contains(got.err.Error(), "stream error") {
				t.Errorf("got %d %q, error %v; want half of it", got.code, got.body, got.err)
			}
		}},
		{"reset", apiservertest.Fault{Break: apiservertest.BreakReset}, func(t *testing.T, got answer, http2 bool) {
			reset := errors.Is(got.err, syscall.ECONNRESET)
			if http2 { // the client may learn of the reset while it writes, and find the end when it reads
				reset = got.err != nil
			}
			if !reset || len(got.body) > len(whole)/2 {
				t.Errorf("got %d %q, error %v; want a connection that was reset", got.code, got.body, got.err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := apiservertest.MustStart(t, apiservertest.Config{})
			s.SetToken("jane-token", authn.UserInfo{Username: "jane"})
			for _, http2 := range []bool{false, true} {
				c := newClient(t, s, http2)
				row.fault.Times = 1
				s.Inject("tokenreviews", row.fault)
				row.check(t, c.post(t, tokenPath, janesToken), http2)
				exactly(201, whole)(t, c.post(t, tokenPath, janesToken), http2)
			}
			if got := s.Count("tokenreviews"); got != 4 || len(s.Reviews()) != 4 {
				t.Errorf("counted %d requests and %d reviews, want 4", got, len(s.Reviews()))
			}
		})
	}
}

func TestContradictoryAccess(t *testing.T) {
	s, c := start(t)
	s.Inject("subjectaccessreviews", apiservertest.Fault{Break: apiservertest.BreakContradict})
	c.post(t, accessPath, janesAccess).want(t, 201, `"status":{"allowed":true,"denied":true}}`)
}

func TestFaultSequence(t *testing.T) {
	s, c := start(t)
	codes := func(path string, want ...int) {
		t.Helper()
		body := strings.Replace(janesToken, "/v1", path[strings.LastIndex(path[:len(path)-13], "/"):len(path)-13], 1)
		for i, code := range want {
			if got := c.post(t, path, body); got.code != code {
				t.Errorf("request %d: got %d, error %v; want %d", i, got.code, got.err, code)
			}
		}
	}
	s.Inject("tokenreviews", apiservertest.Fault{Times: 2, Status: 500}, apiservertest.Fault{Times: 1}, apiservertest.Fault{Status: 429})
	codes(tokenPath, 500, 500, 201, 429, 429)
	c.post(t, accessPath, janesAccess).want(t, 201, "allowed") // another resource
	s.Inject("tokenreviews", apiservertest.Fault{Times: 1, Status: 503})
	codes(tokenPath, 503, 201, 201)
	s.Inject("tokenreviews/v1", apiservertest.Fault{Status: http.StatusNotFound}) // knows v1beta1 only
	s.Inject("tokenreviews", apiservertest.Fault{Times: -1, Status: 500})
	codes(tokenPath, 404, 404)
	codes(tokenBeta, 500, 500)
	s.Inject("tokenreviews")
	codes(tokenBeta, 201)
	codes(tokenPath, 404)
	s.Inject("tokenreviews/v1")
	codes(tokenPath, 201)
}

// TestHang shows that the answer is given as things stand after the wait.
func TestHang(t *testing.T) {
	s, c := start(t)
	release := make(chan struct{})
	s.SetToken("jane-token", authn.UserInfo{Username: "jane"})
	s.Inject("tokenreviews", apiservertest.Fault{Hang: release})
	got := make(chan answer)
	go func() { got <- c.post(t, tokenPath, janesToken) }()
	eventually(t, func() bool { now, _ := s.InFlight(); return now == 1 })
	s.RevokeToken("jane-token")
	close(release)
	(<-got).want(t, 201, "invalid bearer token")
}
