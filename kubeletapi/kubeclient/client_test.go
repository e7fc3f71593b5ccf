package kubeclient

import (
	"context"
	"errors"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
)

var (
	_ authn.TokenReviewer  = (*Client)(nil)
	_ authz.AccessReviewer = (*Client)(nil)
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "get" { // as execUser writes it
		os.Exit(pluginMain(os.Getenv("KUBECLIENT_TEST_PLUGIN")))
	}
	os.Exit(apiservertest.Run(m))
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(w.kubeconfig("token: "+ourToken, "tls-server-name: api.example"))
	mustReview(t, c)
	got := w.arrived()
	wantBodies := []string{
		`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"` + theirToken + `"}}`,
		`{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},"spec":{"nonResourceAttributes":{"path":"/x","verb":"get"},"user":"jane"}}`,
	}
	wantPaths := []string{"/apis/authentication.k8s.io/v1/tokenreviews", "/apis/authorization.k8s.io/v1/subjectaccessreviews"}
	for i, s := range got {
		if s.method != "POST" || s.path != wantPaths[i] || s.body != wantBodies[i] {
			t.Errorf("sent %s %s\n%s\nwant POST %s\n%s", s.method, s.path, s.body, wantPaths[i], wantBodies[i])
		}
		if s.major != 2 {
			t.Errorf("sent over HTTP/%d, want HTTP/2", s.major)
		}
		if s.authorization != "Bearer "+ourToken {
			t.Error("the token of the kubeconfig was not sent")
		}
		if s.header.Get("Content-Type") != "application/json" || s.header.Get("Accept") != "application/json" {
			t.Errorf("content type %q, accept %q", s.header.Get("Content-Type"), s.header.Get("Accept"))
		}
		if agent := s.header.Get("User-Agent"); !regexp.MustCompile(`^kubeletauth/\S+ \(\w+/\w+\)$`).MatchString(agent) {
			t.Errorf("user agent %q", agent)
		}
	}
	if diff := cmp.Diff([]string{"tokenreviews 201", "subjectaccessreviews 201"}, w.observed); diff != "" {
		t.Errorf("Observe (-want +got):\n%s", diff)
	}
	if c.Server() != w.URL {
		t.Errorf("Server() = %q, want %q", c.Server(), w.URL)
	}
}

func TestTokenReviewAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		id, status string
		want       authn.TokenReviewStatus
	}{
		{"tokenreview-002", `{"authenticated":true,"user":{"username":"u","uid":"1","groups":["g"],"extra":{"k":["v"]}}}`,
			authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "u", UID: "1", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}}},
		{"tokenreview-005, refused by authn.Webhook", `{"authenticated":true,"user":{}}`, authn.TokenReviewStatus{Authenticated: true}},
		{"tokenreview-006", `{"authenticated":true,"user":{"username":"u","groups":["system:unauthenticated"]}}`,
			authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "u", Groups: []string{"system:unauthenticated"}}}},
		{"tokenreview-008", `{"authenticated":false}`, authn.TokenReviewStatus{}},
		{"tokenreview-009", `{}`, authn.TokenReviewStatus{}},
		{"tokenreview-010", `{"authenticated":true,"user":{"username":"u"},"audiences":["other"]}`,
			authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "u"}, Audiences: []string{"other"}}},
		{"a refusal with a reason", `{"error":"invalid bearer token"}`, authn.TokenReviewStatus{Error: "invalid bearer token"}},
		{"a reason that repeats the token", `{"error":"cannot read ` + theirToken + `\nnow"}`, authn.TokenReviewStatus{Error: "cannot read [redacted] now"}},
		{"null", `null`, authn.TokenReviewStatus{}},
		{"unknown fields", `{"authenticated":true,"user":{"username":"u","shoe":43},"future":{"a":[1]}}`,
			authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "u"}}},
	} {
		t.Run(test.id, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.setAnswer(func(_ int, s seen, rw http.ResponseWriter) { send(rw, 201, reviewOf(s, test.status)) })
			got, err := reviewToken(w.tokenClient())
			must(t, err)
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAudiencesAreSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.tokenClient().ReviewToken(t.Context(), authn.TokenReviewSpec{Token: "t", Audiences: []string{"a", "b"}})
	must(t, err)
	if body := w.arrived()[0].body; !strings.Contains(body, `"spec":{"token":"t","audiences":["a","b"]}`) {
		t.Errorf("sent %s", body)
	}
}

func TestTokenThatJSONCannotCarry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, err := w.tokenClient().ReviewToken(t.Context(), authn.TokenReviewSpec{Token: "a\xffb"})
	if err != nil || status.Authenticated || status.Error == "" || len(w.arrived()) != 0 {
		t.Errorf("got %+v, %v after %d requests, want a refusal without asking", status, err, len(w.arrived()))
	}
}

func TestBadAnswers(t *testing.T) {
	t.Parallel()
	review := func(status string) string {
		return `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":` + status + `}`
	}
	good := review(`{"authenticated":true,"user":{"username":"u"}}`)
	redirect := func(code int, to string) func(int, seen, http.ResponseWriter) {
		return func(_ int, _ seen, w http.ResponseWriter) {
			w.Header().Set("Location", to)
			send(w, code, good)
		}
	}
	for _, test := range []struct {
		name   string
		answer func(int, seen, http.ResponseWriter)
		want   string
	}{
		{"tokenreview-023: empty body", with(200, ""), "0-length response with status code: 200 and content type: application/json"},
		{"tokenreview-024: a Status with 200", with(200, `{"kind":"Status","apiVersion":"v1","status":"Failure"}`), `of kind "Status"`},
		{"another kind", with(201, strings.Replace(good, "TokenReview", "SubjectAccessReview", 1)), `of kind "SubjectAccessReview"`},
		{"another version", with(201, strings.Replace(good, "/v1", "/v2", 1)), `apiVersion "authentication.k8s.io/v2"`},
		{"not JSON", with(201, "<html>authenticated: true</html>"), "invalid character"},
		{"cut off", with(201, good[:len(good)-1]), "unexpected end"},
		{"two answers", with(201, good+good), "after top-level value"},
		{"a list", with(201, "["+good+"]"), "cannot unmarshal array"},
		{"wrong type", with(201, review(`{"authenticated":"true"}`)), "cannot unmarshal string"},
		{"too large", with(201, good+strings.Repeat(" ", maxAnswerBytes)), "larger than 1048576 bytes"},
		{"206 is a success, 207 is not", with(207, good), "the API server answered 207 "},
		{"204 without a body", func(_ int, _ seen, w http.ResponseWriter) { w.WriteHeader(204) }, "0-length response with status code: 204"},
		{"301", redirect(301, "https://elsewhere.example/apis?token=SECRET"), `301 (Redirect) to POST`},
		{"307", redirect(307, "https://elsewhere.example/apis"), `redirect to "https://elsewhere.example/apis" is not followed`},
		{"308 to itself", redirect(308, "/apis/authentication.k8s.io/v1/tokenreviews"), "is not followed"},
		{"302 with control characters", redirect(302, "/a\tb"), "is not followed"},
		{"304", func(_ int, _ seen, w http.ResponseWriter) { w.WriteHeader(304) }, "304 (NotModified)"},
		{"403 with our words", with(403, `{"kind":"Status","status":"Failure","reason":"Forbidden","message":"no `+theirToken+` and `+ourToken+`\n\u001b[1m\u2028x"}`),
			"403 (Forbidden) to POST"},
		{"a long message", with(403, `{"kind":"Status","status":"Failure","reason":"Forbidden","message":"`+strings.Repeat("é", 4000)+`"}`), "éé..."},
		{"text/plain", func(_ int, _ seen, w http.ResponseWriter) { http.Error(w, "slow\ndown "+theirToken, 400) }, "400 (BadRequest)"},
		{"cut off in transit", func(_ int, _ seen, w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("{"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, `Read "https://`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.setAnswer(test.answer)
			status, err := reviewToken(w.tokenClient())
			mustFail(t, err, test.want)
			if status != nil {
				t.Errorf("%+v beside an error", status)
			}
			if n := len(w.arrived()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
			mustHide(t, w.log.text())
		})
	}
}

// What an answer says is what client-go would read in it.
func TestAnswersToTheLetter(t *testing.T) {
	const head = `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1",`
	yes := authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "u"}}
	for _, tt := range []struct {
		body string
		want authn.TokenReviewStatus
	}{
		{head + `"status":{"authenticated":true,"user":{"username":"u"}}}`, yes},
		{`{"status":{"authenticated":true,"user":{"username":"u"}}}`, yes},
		{`{"kind":"TokenReview","status":{"authenticated":true,"user":{"username":"u"}}}`, yes},
		{`{"apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,"user":{"username":"u"}}}`, yes},
		{"null", authn.TokenReviewStatus{}},
		{"{}", authn.TokenReviewStatus{}},
		{head + `"Status":{"authenticated":true,"user":{"username":"u"}}}`, authn.TokenReviewStatus{}},
		{head + `"status":{"Authenticated":true,"user":{"username":"u"}}}`, authn.TokenReviewStatus{User: yes.User}},
		{head + `"status":{"authenticated":false,"AUTHENTICATED":true}}`, authn.TokenReviewStatus{}},
		{head + `"status":{"authenticated":true,"user":{"username":"u","Username":"root","GROUPS":["system:masters"]}}}`, yes},
	} {
		if got, err := decode[authn.TokenReviewStatus]([]byte(tt.body), "TokenReview", "authentication.k8s.io/v1"); err != nil || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s: %+v, %v", tt.body, got, err)
		}
	}
	for status, want := range map[string]authz.SubjectAccessReviewStatus{
		`{"allowed":true}`:                      {Allowed: true},
		`{"allowed":false,"ALLOWED":true}`:      {},
		`{"Allowed":true}`:                      {},
		`{"allowed":true,"Denied":true}`:        {Allowed: true},
		`{"allowed":true,"\u0061llowed":false}`: {},
	} {
		if got, err := decode[authz.SubjectAccessReviewStatus]([]byte(`{"status":`+status+`}`), "SubjectAccessReview", "authorization.k8s.io/v1"); err != nil || *got != want {
			t.Errorf("%s: %+v, %v", status, got, err)
		}
	}
}

func TestStatusError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setAnswer(with(403, `{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"user \"x\" cannot create"}`))
	_, err := reviewAccess(w.tokenClient())
	var got *StatusError
	if !errors.As(err, &got) {
		t.Fatalf("error %v, want a StatusError", err)
	}
	want := &StatusError{Code: 403, Reason: "Forbidden", Message: `user "x" cannot create`, URL: w.URL + "/apis/authorization.k8s.io/v1/subjectaccessreviews", deciding: 403}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}

func TestSlowServer(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(http.ResponseWriter, <-chan struct{}){
		"no header": func(_ http.ResponseWriter, end <-chan struct{}) { <-end },
		"a byte now and then": func(w http.ResponseWriter, end <-chan struct{}) {
			for {
				select {
				case <-end:
					return
				case <-time.After(20 * time.Millisecond):
					w.Write([]byte(" "))
					w.(http.Flusher).Flush()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			end := make(chan struct{})
			t.Cleanup(func() { close(end) })
			w.setAnswer(func(_ int, _ seen, rw http.ResponseWriter) { slow(rw, end) })
			cfg := w.config(w.kubeconfig("token: " + ourToken))
			cfg.Timeout = 300 * time.Millisecond
			c, err := New(cfg)
			must(t, err)
			defer c.Close()
			start := time.Now()
			_, err = reviewToken(c)
			mustFail(t, err, "deadline exceeded")
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v, want 300ms", took)
			}
		})
	}
}

func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := make(chan struct{})
	defer close(end)
	w.setAnswer(func(int, seen, http.ResponseWriter) { <-end })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := w.tokenClient().ReviewToken(ctx, authn.TokenReviewSpec{Token: theirToken})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	mustFail(t, err, "canceled")
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"nothing", Config{}, "name a kubeconfig file, or choose the in-cluster"},
		{"both", Config{Kubeconfig: "x", InCluster: true}, "choose one"},
		{"negative timeout", Config{Kubeconfig: "x", Timeout: -1}, "must not be negative"},
		{"user agent", Config{Kubeconfig: "x", UserAgent: "a\nb"}, "control character"},
		{"no such file", Config{Kubeconfig: "testdata/none"}, "testdata/none: no such file"},
		{"a folder", Config{Kubeconfig: "testdata"}, "not a regular file"},
	} {
		if c, err := New(test.cfg); c != nil {
			t.Errorf("%s: a client", test.name)
		} else {
			mustFail(t, err, test.want)
		}
	}
}

func TestZeroAndClosedClientsRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	closed := w.tokenClient()
	mustReview(t, closed)
	closed.Close()
	closed.Close()
	for name, c := range map[string]*Client{"zero": {}, "closed": closed} {
		status, err := reviewToken(c)
		if status != nil {
			t.Errorf("%s: a status", name)
		}
		mustFail(t, err, "is closed, or was not made by New")
		_, err = c.ReviewToken(t.Context(), authn.TokenReviewSpec{Token: "\xff"})
		mustFail(t, err, "is closed, or was not made by New")
		_, err = reviewAccess(c)
		mustFail(t, err, "is closed, or was not made by New")
		if c.Server() != "" {
			t.Errorf("%s: Server() = %q", name, c.Server())
		}
	}
	new(Client).Close()
}

func TestReloadsAreLogged(t *testing.T) {
	w := newWorldWithoutServer(t)
	cfg := w.config(w.kubeconfig("token: " + ourToken))
	cfg.Report = nil
	must(t, cfg.complete())
	cfg.Report(nil)
	cfg.Report(errors.New("why"))
	if text := w.log.text(); !strings.Contains(text, "level=INFO") || !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "err=why") {
		t.Errorf("log %q", text)
	}
}

func BenchmarkReviewToken(b *testing.B) {
	c := newWorld(b).tokenClient()
	mustReview(b, c)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := reviewToken(c); err != nil {
				b.Error(err)
			}
		}
	})
}
