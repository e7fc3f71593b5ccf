package kubeletapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authz"
	"kubeletauth/testdata/vectors"
)

func TestTokenCacheVectors(t *testing.T) {
	runSteps(t, "tokencache", 34)
}

func TestAccessReviewVectors(t *testing.T) {
	runSteps(t, "sar", 76)
}

// runSteps runs the rows that are a story: requests, and time between them.
func runSteps(t *testing.T, area string, atLeast int) {
	vectors.Run(t, area, "kubeletapi", atLeast, func(t *testing.T, input, expect *vectors.Object) {
		inBubbles(t, input, func(s *story) { s.run(input, expect) })
	})
}

// The rows are about what one token's status means; here, for the request, and
// for how long.
func TestTokenReviewVectors(t *testing.T) {
	vectors.Run(t, "tokenreview", "kubeletapi", 40, func(t *testing.T, input, expect *vectors.Object) {
		inBubbles(t, input, func(s *story) {
			if input.Has("steps") {
				s.run(input, expect)
				return
			}
			token := vectors.Token(input)
			input.Get("status", &s.api.status)
			if input.Has("review_error") {
				s.api.tokens = map[string]vectors.Strings{token: {"failure: " + vectors.Or(input, "review_error", "")}}
			}
			s.checkKept(token, expect)
			expect.Elsewhere("user", "uid", "groups", "extra", "spec", "ok", "error", "error_contains", "bearer_error", "refusal")
		})
	})
}

// inBubbles tells a story twice, each with a clock of its own: with a connection
// for each request, and with one for all.
func inBubbles(t *testing.T, input *vectors.Object, tell func(*story)) {
	t.Helper()
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStory(t, input)
			if shared {
				s.connection = withSlot(s.connection, nil)
			}
			tell(s)
		})
	}
}

// checkKept checks what a token gets, and that it is asked about again once its
// answer has been kept as long as the row says, and not long before.
func (s *story) checkKept(token string, expect *vectors.Object) {
	s.t.Helper()
	defer s.auth.Close()
	ask := []string{"GET", "/metrics", "as", token}
	w := s.ask(ask)
	if want := vectors.Or(expect, "http", w.Code); w.Code != want {
		s.t.Errorf("status code %d, want %d", w.Code, want)
	}
	if want := vectors.Or(expect, "reviews", 1); s.api.reviews != want {
		s.t.Errorf("%d reviews, want %d", s.api.reviews, want)
	}
	if !expect.Has("cached_for") {
		return
	}
	if kept := duration(s.t, vectors.Or(expect, "cached_for", "")); kept > 0 {
		early := kept * 79 / 100 // later, it would be renewed
		time.Sleep(early)
		if s.ask(ask); s.api.reviews != 1 {
			s.t.Errorf("%d reviews before %v have passed", s.api.reviews, early)
		}
		time.Sleep(kept - early)
	}
	if s.ask(ask); s.api.reviews != 2 {
		s.t.Errorf("%d reviews after that, want 2", s.api.reviews)
	}
}

// story is a row under way.
type story struct {
	t     *testing.T
	api   *fakeAPI
	auth  *Auth
	start time.Time

	connection context.Context              // of all requests
	answers    []*httptest.ResponseRecorder // of each step, the last
}

func newStory(t *testing.T, input *vectors.Object) *story {
	t.Helper()
	api := newFakeAPI(t, input)
	cfg := Config{
		AnonymousAuth:              true,
		AuthenticationTokenWebhook: true,
		APIAudiences:               vectors.Or[[]string](input, "audiences", nil),
		AuthorizationMode:          vectors.Or(input, "mode", ModeWebhook),
		FeatureGates:               map[string]bool{FineGrainedGate: fineGrained(t, input)},
		HostnameOverride:           "n1",
		TokenReviewer:              api,
		AccessReviewer:             api,
		Logger:                     slog.New(slog.DiscardHandler),
	}
	ttls := vectors.Or[map[string]string](input, "ttls", nil)
	cfg.AuthenticationTokenWebhookCacheTTL = ttl(t, ttls["token"])
	cfg.AuthorizationWebhookCacheAuthorizedTTL = ttl(t, ttls["allow"])
	cfg.AuthorizationWebhookCacheUnauthorizedTTL = ttl(t, ttls["deny"])
	auth, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(api.access["pods"], "Allow+error") {
		auth.Authorizer = allowWithError{api}
	}
	return &story{t: t, api: api, auth: auth, start: time.Now(), connection: t.Context()}
}

// ttl is what a flag makes of a duration; without one, it is not given.
func ttl(t *testing.T, text string) time.Duration {
	t.Helper()
	if text == "" {
		return 0
	}
	cfg, _, err := ParseOptions([]string{"--authentication-token-webhook-cache-ttl=" + text})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.AuthenticationTokenWebhookCacheTTL
}

func (s *story) run(input, expect *vectors.Object) {
	s.t.Helper()
	for _, step := range s.steps(input) {
		s.step(step)
	}
	s.auth.Close()
	s.check(expect)
}

// steps returns the steps of a row; one that says only how long its attributes
// are is about asking twice.
func (s *story) steps(input *vectors.Object) []string {
	steps := vectors.Or[[]string](input, "steps", nil)
	if sum := vectors.Or(input, "sum_len", 0); sum > 0 {
		rest := sum - len("get"+"v1"+"nodes"+"stats"+"n1")
		path := "/stats/" + strings.Repeat("x", rest-len("/stats/"))
		steps = []string{"GET " + path, "GET " + path}
	}
	return steps
}

// step does "+30s", or one or more requests at once: "GET /path",
// "10x GET /path as TOKEN for 1s by websocket with junk".
func (s *story) step(step string) {
	s.t.Helper()
	if text, ok := strings.CutPrefix(step, "+"); ok {
		time.Sleep(duration(s.t, text))
		return
	}
	words, times := strings.Fields(step), 1
	if text, ok := strings.CutSuffix(words[0], "x"); ok {
		times, _ = strconv.Atoi(text)
		words = words[1:]
	}
	var all sync.WaitGroup
	answers := make([]*httptest.ResponseRecorder, times)
	for i := range answers {
		all.Go(func() { answers[i] = s.ask(words) })
	}
	all.Wait()
	for _, w := range answers[1:] {
		if w.Code != answers[0].Code || w.Body.String() != answers[0].Body.String() {
			s.t.Errorf("%s: %d %q, and %d %q", step, w.Code, w.Body, answers[0].Code, answers[0].Body)
		}
	}
	s.answers = append(s.answers, answers[0])
}

func (s *story) ask(words []string) (w *httptest.ResponseRecorder) {
	options := map[string]string{"as": "u"}
	for pair := range slices.Chunk(words[2:], 2) {
		options[pair[0]] = pair[1]
	}
	r := httptest.NewRequest(words[0], words[1], nil)
	ctx, cancel := context.WithCancel(s.connection)
	if text, ok := options["for"]; ok {
		ctx, cancel = context.WithTimeout(ctx, duration(s.t, text))
	}
	defer cancel()
	present(r, options)
	w = httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			s.t.Errorf("%v: panic: %v", words, p)
		}
	}()
	s.auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r.WithContext(ctx))
	return w
}

// present adds the token to a request: none for "-", a long one for "@" and its
// length.
func present(r *http.Request, options map[string]string) {
	token := options["as"]
	if text, ok := strings.CutPrefix(token, "@"); ok {
		n, _ := strconv.Atoi(text)
		token = strings.Repeat("t", n)
	}
	switch {
	case token == "-":
	case options["by"] == "websocket":
		vectors.PresentWebSocket(r.Header, token)
	default:
		r.Header.Set("Authorization", "Bearer "+token+" "+options["with"])
	}
}

func (s *story) check(expect *vectors.Object) {
	s.t.Helper()
	if want := vectors.Or(expect, "tokenreviews", s.api.reviews); s.api.reviews != want {
		s.t.Errorf("%d token reviews, want %d", s.api.reviews, want)
	}
	if want := vectors.Or(expect, "sars", len(s.api.specs)); len(s.api.specs) != want {
		s.t.Errorf("%d access reviews, want %d", len(s.api.specs), want)
	}
	last := s.answers[len(s.answers)-1]
	if body := last.Body.String(); body != vectors.Or(expect, "body", body) {
		s.t.Errorf("body %q", body)
	}
	if got := last.Code == http.StatusOK; got != vectors.Or(expect, "allowed", got) {
		s.t.Errorf("allowed: %t", got)
	}
	if cached := len(s.api.specs) == 1; cached != vectors.Or(expect, "cached", cached) {
		s.t.Errorf("cached: %t", cached)
	}
	var took string
	if got := time.Since(s.start); expect.Get("took", &took) && got != duration(s.t, took) {
		s.t.Errorf("took %v, want %s", got, took)
	}
	s.checkCodes(expect)
	s.checkSpecs(expect)
}

// checkCodes checks the codes of all steps, or the last one.
func (s *story) checkCodes(expect *vectors.Object) {
	s.t.Helper()
	var got []int
	for _, w := range s.answers {
		got = append(got, w.Code)
	}
	var want json.RawMessage
	if !expect.Get("http", &want) {
		return
	}
	text, _ := json.Marshal(got)
	if want[0] != '[' {
		text, _ = json.Marshal(got[len(got)-1])
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), " ", ""), string(text)); diff != "" {
		s.t.Errorf("status codes (-want +got):\n%s", diff)
	}
}

func (s *story) checkSpecs(expect *vectors.Object) {
	s.t.Helper()
	var want []authz.SubjectAccessReviewSpec
	if !expect.Get("specs", &want) {
		return
	}
	if diff := cmp.Diff(want, s.api.specs); diff != "" {
		s.t.Errorf("questions (-want +got):\n%s", diff)
	}
}
