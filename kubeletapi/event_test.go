package kubeletapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/internal/responsewriter"
)

type events []Event

func (e *events) LogEvent(event Event) bool { *e = append(*e, event); return len(*e) < 100 }

// Each row is a request, after others, and what its event says: decision,
// where the two answers are from, how the user was recognized, user, what was
// asked for, status.
func TestEvents(t *testing.T) {
	for _, test := range []struct {
		name   string
		cfg    Config
		before string // requests, of which the last is the one that counts; a time passes
		want   string
	}{
		{"new token", Config{}, "good GET /metrics", "allow reviewed reviewed token good get:metrics 200"},
		{"known token", Config{}, "good GET /metrics|good GET /metrics", "allow cached cached token good get:metrics 200"},
		{"known token, new question", Config{}, "good GET /metrics|good GET /stats/", "allow cached reviewed token good get:stats 200"},
		{"token expired, decision not", Config{}, "good GET /metrics|150s|good GET /metrics", "allow reviewed cached token good get:metrics 200"},
		{"bad token", Config{}, "bad GET /metrics", "     401"},
		{"no token", Config{}, "- GET /metrics", "     401"},
		{"anonymous", Config{AnonymousAuth: true}, "- GET /metrics", "allow cached reviewed anonymous system:anonymous get:metrics 200"},
		{"denied", Config{RequestAttributes: AttributesNonResource}, "good GET /closed", "deny reviewed reviewed token good get:/closed 403"},
		{"own", Config{RequestAttributes: AttributesNonResource}, "good GET /good|good GET /good", "allow cached cached token good get:/good 200"},
		{"fine-grained", Config{FeatureGates: map[string]bool{FineGrainedGate: true}}, "good GET /pods", "allow reviewed reviewed token good get:pods 200"},
		{"redirect", Config{}, "good GET /a//b", "     307"},
		{"ambiguous", Config{}, "good GET /%2e%2e/b", "     400"},
		{"down", Config{}, "good GET /metrics|150s|down|good GET /metrics", "     401"},
		{"stale", Config{AuthenticationStaleIfError: time.Hour, AuthorizationStaleIfError: time.Hour}, "good GET /metrics|10m|down|good GET /metrics", "allow stale stale token good get:metrics 200"},
		{"undecided", Config{}, "good GET /metrics|down|good GET /logs/", "error cached  token good get:log 500"},
		{"teapot", Config{}, "good GET /teapot", "allow reviewed reviewed token good get:proxy 418"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log events
				test.cfg.EventLogger = &log
				f := newFlooded(t, test.cfg)
				defer f.auth.Close()
				handler := f.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					if r.URL.Path == "/teapot" {
						w.WriteHeader(418)
					}
				}))
				var answer *httptest.ResponseRecorder
				for step := range strings.SplitSeq(test.before, "|") {
					words := strings.Fields(step)
					if d, err := time.ParseDuration(step); err == nil {
						time.Sleep(d)
						continue
					}
					if step == "down" {
						f.api.hangs.Store(true)
						continue
					}
					r := httptest.NewRequest(words[1], words[2], nil)
					if words[0] != "-" {
						r.Header.Set("Authorization", "Bearer "+words[0])
					}
					answer = httptest.NewRecorder()
					handler.ServeHTTP(answer, r)
				}
				e := log[len(log)-1]
				var asked []string
				for _, a := range e.Attributes {
					asked = append(asked, a.Verb+":"+a.Subresource+a.Path)
				}
				status := map[int]string{200: "200", 307: "307", 400: "400", 401: "401", 403: "403", 418: "418", 500: "500"}[e.Status]
				got := strings.Join([]string{e.Decision, e.Authentication, e.Authorization, e.AuthenticatedBy, e.User, strings.Join(asked, ","), status}, " ")
				if strings.TrimSpace(got) != strings.TrimSpace(test.want) {
					t.Errorf("%q, not %q", got, test.want)
				}
				if answer.Header().Get("Audit-Id") != e.ID || len(e.ID) < 26 || answer.Code != e.Status {
					t.Errorf("%+v for %d %v", e, answer.Code, answer.Header())
				}
				if passed := e.Decision == "allow"; passed && e.Duration < time.Second || e.Authentication == "reviewed" && e.AuthenticationDuration != 5*time.Millisecond || e.Authorization == "reviewed" && e.AuthorizationDuration != 5*time.Millisecond {
					t.Errorf("durations: %+v", e)
				}
				if line, err := json.Marshal(e); err != nil || strings.Contains(string(line), "Bearer") {
					t.Errorf("%s, %v", line, err)
				}
				if strings.Contains(test.before, "bad") && e.Error == "" {
					t.Error("the event does not say why")
				}
			})
		})
	}
}

// A handler can do with the answer what it could without a log.
func TestEventsLetHandlersStreamAndHijack(t *testing.T) {
	var log events
	auth := &Auth{EventLogger: &log}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &responsewriter.Writer{ResponseWriter: w}
		answer.WriteHeader(http.StatusEarlyHints)
		if answer.Flush(); r.URL.Path == "/hijack" {
			conn, _, err := answer.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
			return
		}
		if err := http.NewResponseController(answer).SetReadDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	for _, path := range []string{"/", "/hijack"} {
		if r, err := http.Get(server.URL + path); err == nil {
			r.Body.Close()
		}
	}
	w := httptest.NewRecorder()
	auth.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if len(log) != 1 || log[0].Status != 401 || w.Code != 401 {
		t.Errorf("%+v", log)
	}
}

// Each row is what a handler does, and the stages that are logged: with the status
// and the seconds that had passed.
func TestEventStages(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler func(w http.ResponseWriter)
		want    string
	}{
		{"short", func(w http.ResponseWriter) { time.Sleep(59 * time.Second) }, "ResponseComplete 200 59"},
		{"long", func(w http.ResponseWriter) { w.WriteHeader(206); time.Sleep(90 * time.Second) }, "ResponseStarted 206 60, ResponseComplete 206 90"},
		{"late", func(w http.ResponseWriter) { time.Sleep(90 * time.Second); w.WriteHeader(500) }, "ResponseStarted 0 60, ResponseComplete 500 90"},
		{"upgrade", func(w http.ResponseWriter) { w.WriteHeader(101); time.Sleep(time.Hour) }, "ResponseStarted 101 0, ResponseComplete 101 3600"},
		{"hijack", func(w http.ResponseWriter) { w.(http.Hijacker).Hijack(); time.Sleep(time.Hour) }, "ResponseStarted 101 0, ResponseComplete 101 3600"},
		{"upgrade and hijack", func(w http.ResponseWriter) { w.WriteHeader(101); w.(http.Hijacker).Hijack() }, "ResponseStarted 101 0, ResponseComplete 101 0"},
		{"early hints", func(w http.ResponseWriter) { w.WriteHeader(103) }, "ResponseComplete 200 0"},
		{"panic", func(w http.ResponseWriter) { time.Sleep(90 * time.Second); panic(http.ErrAbortHandler) }, "ResponseStarted 0 60, ResponseComplete 0 90"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log events
			auth := &Auth{EventLogger: &log, Authenticator: authn.Anonymous{}, Authorizer: authz.AlwaysAllow{}}
			func() {
				defer func() { recover() }()
				handler := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.handler(w) }))
				handler.ServeHTTP(hijackable{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
			}()
			time.Sleep(time.Hour)
			var got []string
			for _, e := range log {
				got = append(got, fmt.Sprint(e.Stage, " ", e.Status, " ", e.Duration.Seconds()))
				if e.ID != log[0].ID || e.Decision != "allow" || e.User != authn.UserAnonymous {
					t.Errorf("%s: %+v", test.name, e)
				}
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
		})
	}
}

// An answer that ends as it would be logged for its length has its end logged last.
func TestEventStagesInOrder(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			var log events
			auth := &Auth{EventLogger: &log, Authenticator: authn.Anonymous{}, Authorizer: authz.AlwaysAllow{}}
			handler := auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(longAnswer) }))
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			time.Sleep(time.Second)
			if len(log) > 2 || log[len(log)-1].Stage != StageComplete {
				t.Errorf("%+v", log)
			}
		})
	}
}

type hijackable struct{ http.ResponseWriter }

func (hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }

// A handler that panics without an answer has none in its event; long names do
// not make a long line.
func TestEventOfAPanic(t *testing.T) {
	var log events
	long := strings.Repeat("x", 10<<10)
	auth := &Auth{EventLogger: &log, Authenticator: always{&authn.UserInfo{Username: long, UID: long, Groups: []string{long}}, true}, Authorizer: authz.AlwaysAllow{}}
	func() {
		defer func() { recover() }()
		auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/"+long, nil))
	}()
	if line, err := json.Marshal(log); err != nil || len(log) != 1 || log[0].Status != 0 || log[0].Decision != "allow" || len(line) > 6<<10 {
		t.Errorf("%d bytes: %.300s, %v", len(line), line, err)
	}
}

// An event may wait in a queue, and keeps no more of a long request than it shows.
func TestEventsAreSmall(t *testing.T) {
	for _, attributes := range []string{AttributesKubelet, AttributesNonResource} {
		log := make(events, 0, 1000)
		auth, err := New(Config{AnonymousAuth: true, AuthorizationMode: ModeWebhook, RequestAttributes: attributes, HostnameOverride: "n1", AccessReviewer: agreeable{}, EventLogger: &log})
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close()
		handler := auth.Handler(http.NotFoundHandler())
		const n = 500
		query := "?" + strings.Repeat("x", 60<<10)
		empty := heapInUse()
		for i := range n {
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", fmt.Sprintf("/%d%s", i, query), nil))
		}
		if each := int64(heapInUse()-empty) / n; len(log) != n || each >= 4<<10 {
			t.Errorf("%s: %d events of %d bytes", attributes, len(log), each)
		}
	}
}

// lateFailure panics where a request is still under way.
type lateFailure struct{}

func (lateFailure) LogEvent(e Event) bool {
	if e.Stage == StageStarted {
		panic("disk full")
	}
	return true
}

// A timer has the EventLogger told of an answer that takes long: what panics there
// would end the process.
func TestEventLoggerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		auth := &Auth{NodeName: "n1", Authenticator: authn.Anonymous{}, Authorizer: authz.AlwaysAllow{}, EventLogger: lateFailure{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		auth.metrics.define()
		w := httptest.NewRecorder()
		auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(2 * time.Minute) })).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		synctest.Wait()
		if w.Code != 200 || auth.metrics.dropped.Value() != 1 || !strings.Contains(log.String(), `msg="The EventLogger panicked" panic="disk full"`) {
			t.Errorf("%d, %d dropped, %s", w.Code, auth.metrics.dropped.Value(), log.String())
		}
	})
}
