package kubeclient

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/authn"
	"kubeletauth/testdata/vectors"
)

// The rows about what the API server answers, and how often it is asked. Those
// about a kubeconfig stand in TestKubeconfigErrors and its neighbours.
func TestReviewVectors(t *testing.T) {
	for area, atLeast := range map[string]int{"tokenreview": 10, "sar": 3} {
		vectors.Run(t, area, "kubeclient", atLeast, func(t *testing.T, input, expect *vectors.Object) {
			synctest.Test(t, func(t *testing.T) { checkReview(t, script(input), expect) })
		})
	}
}

// script returns the answers of a row, of which the last repeats.
func script(input *vectors.Object) (words []string) {
	for _, raw := range vectors.Or[[]json.RawMessage](input, "http", nil) {
		words = append(words, strings.Trim(string(raw), `"`))
	}
	var failure string
	if input.Get("network", &failure) {
		words = append(words, failure)
	}
	return words
}

func checkReview(t *testing.T, words []string, expect *vectors.Object) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), defaultTimeout)
	defer cancel()
	attempts, start := 0, time.Now()
	var data []byte
	err := retry(ctx, func() (err error) {
		attempts++
		data, err = playAnswer(words[min(attempts, len(words))-1])
		return err
	})
	slept := time.Since(start)
	if err == nil {
		_, err = decode[authn.TokenReviewStatus](data, "TokenReview", "authentication.k8s.io/v1")
	}
	if want := vectors.Or(expect, "attempts", attempts); attempts != want {
		t.Errorf("%d attempts, want %d", attempts, want)
	}
	failed := vectors.Or(expect, "result", "") == "error" || expect.Has("error") || expect.Has("http")
	if failed != (err != nil) {
		t.Errorf("error %v, want one: %t", err, failed)
	}
	if want := vectors.Or(expect, "error", "set"); want != "set" && (err == nil || err.Error() != want) {
		t.Errorf("error %v, want %q", err, want)
	}
	checkSlept(t, slept, expect)
	expect.Elsewhere("decision", "http")
}

// playAnswer reads "201", "503 Retry-After:1", "200 (empty)", "200 Status
// failure", or the name of a network failure.
func playAnswer(word string) ([]byte, error) {
	code, rest, _ := strings.Cut(word, " ")
	status, err := strconv.Atoi(code)
	if err != nil {
		return nil, play(word)
	}
	body := `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{}}`
	header := http.Header{"Content-Type": {"application/json"}}
	switch name, value, _ := strings.Cut(rest, ":"); {
	case rest == "(empty)":
		body = ""
	case rest == "Status failure":
		body = `{"kind":"Status","apiVersion":"v1","status":"Failure"}`
	case name == "Retry-After":
		header.Set(name, value)
	}
	return readAnswer(&http.Response{
		StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)),
		Request: &http.Request{URL: &url.URL{Scheme: "https", Host: "h"}},
	})
}

// checkSlept checks a range such as "500ms..600ms", or the second of a header.
func checkSlept(t *testing.T, slept time.Duration, expect *vectors.Object) {
	t.Helper()
	from, to, ok := strings.Cut(vectors.Or(expect, "first_sleep", ""), "..")
	if vectors.Or(expect, "retried_by", "") != "" {
		from, to, ok = "1s", "1s", true
	}
	if !ok {
		return
	}
	shortest, err := time.ParseDuration(from)
	must(t, err)
	longest, err := time.ParseDuration(to)
	must(t, err)
	if slept < shortest || slept > longest {
		t.Errorf("slept %v, want %v to %v", slept, shortest, longest)
	}
}
