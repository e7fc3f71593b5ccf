package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"

	"kubeletauth/authn"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestTokenReview compares what is asked about a token, and what becomes of the answer.
func TestTokenReview(t *testing.T) {
	s := generate.New(t)
	api := &memory{}
	kubernetes, err := webhook.NewFromInterface(api.authentication(t), nil, once(), 0, webhook.AuthenticatorMetrics{
		RecordRequestTotal:   func(context.Context, string) {},
		RecordRequestLatency: func(context.Context, string, float64) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, 100_000, func() string {
		token, audiences, status := generate.Pick(s, "good", "tök", "a.b.c", "<&>")+s.Text(2, "x", "y", " "), anyAudiences(s), anyTokenStatus(s)
		api.answer = mustJSON(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
		ctx := t.Context()
		if len(audiences) > 0 {
			ctx = authenticator.WithAudiences(ctx, audiences)
		}
		response, ok, err := kubernetes.AuthenticateToken(ctx, token)
		want := newKubernetesAnswer(response, ok, err)
		reviewer := &tokenReviewer{answer: mustJSON(status)}
		got := newAnswer(authn.Webhook{Reviewer: reviewer, Audiences: audiences}.AuthenticateToken(t.Context(), token))
		if strings.Contains(token, " ") {
			// README: "a token [...] with white space or control characters in it | reviewed | refused without a review".
			return unasked(got, reviewer)
		}
		if strings.Contains(token, " ") {
			// README: "a token [...] with white space or control characters in it | reviewed | refused without a review, 401".
			return unreviewed(got, reviewer)
		}
		if asked := specOf(api.asked); !cmp.Equal(asked, anyJSON(reviewer.asked)) {
			return "the question: " + cmp.Diff(asked, anyJSON(reviewer.asked))
		}
		return tokenReviewDiff(want, got, audiences, string(api.answer))
	})
}

// unasked is about a token that must be refused without a question.
func unasked(got answer, reviewer *tokenReviewer) string {
	if got.OK || got.Error == "" || reviewer.asked.Token != "" {
		return fmt.Sprintf("a token that cannot be good: %+v, after the question %+v", got, reviewer.asked)
	}
	return ""
}

// unreviewed says what is wrong if a token was not refused, or was reviewed.
func unreviewed(got answer, reviewer *tokenReviewer) string {
	if got.OK || got.Error == errorText(nil) || reviewer.asked.Token != "" {
		return fmt.Sprintf("%+v for a token that need not be reviewed", got)
	}
	return ""
}

// tokenReviewDiff compares answers, but for two rows.
func tokenReviewDiff(want, got answer, audiences []string, status string) string {
	if want.OK && want.User.Username == "" {
		// README: "an authenticated answer with an empty user name | accepted | refused, 401".
		want = answer{Error: "error the API server authenticated the token without a user name"}
	}
	if len(audiences) > 0 && !want.OK && !got.OK {
		return "" // no kubelet asks for audiences; a reason for the log is ours alone
	}
	if diff := answerDiff(want, got); diff != "" {
		return diff + "for " + status
	}
	return ""
}

// tokenReviewer answers our side with a status in JSON, and keeps the question.
type tokenReviewer struct {
	answer []byte
	asked  authn.TokenReviewSpec
}

func (a *tokenReviewer) ReviewToken(_ context.Context, spec authn.TokenReviewSpec) (*authn.TokenReviewStatus, error) {
	a.asked = spec
	status := &authn.TokenReviewStatus{}
	return status, json.Unmarshal(a.answer, status)
}

// anyAudiences is none, or some.
func anyAudiences(s *generate.Source) []string {
	if s.Chance(2) {
		return nil
	}
	return generate.List(s, 3, func() string { return generate.Pick(s, "api", "https://kubernetes.default.svc", "") })
}

// anyTokenStatus is the status of a token review, with any of its fields.
func anyTokenStatus(s *generate.Source) map[string]any {
	status := map[string]any{}
	set := func(in map[string]any, name string, value any) {
		if s.Chance(2) {
			in[name] = value
		}
	}
	set(status, "authenticated", !s.Chance(4))
	set(status, "error", generate.Pick(s, "", "token has expired", "[invalid bearer token, unknown]"))
	set(status, "audiences", generate.List(s, 2, func() string { return generate.Pick(s, "api", "elsewhere", "") }))
	user := map[string]any{}
	u := anyUser(s)
	set(user, "username", u.Username)
	set(user, "uid", u.UID)
	set(user, "groups", u.Groups)
	set(user, "extra", u.Extra)
	set(user, "new", fmt.Sprint(s.IntN(9)))
	set(status, "user", user)
	return status
}
