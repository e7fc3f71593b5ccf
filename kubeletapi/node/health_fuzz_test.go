package node_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kubeletauth/kubeletapi/node"
)

// FuzzHealth holds the answer to any query, whichever checks fail, against one that
// is put together naively.
func FuzzHealth(f *testing.F) {
	for _, query := range []string{"", "verbose", "verbose=0&exclude=b", "exclude=a&exclude=b&exclude=a", "exclude=z&exclude=c/d&exclude=a,b&verbose", "exclude&verbose",
		"exclude=ping&exclude=ping&verbose", "verbose&exclude=%22%0a&exclude=%22", "exclude=%zz&verbose;&exclude=%00%ff", "VERBOSE&Exclude=b", "verbose&exclude=\u2028&exclude=A&exclude=é"} {
		f.Add(uint8(0), query)
		f.Add(uint8(0b10100), query)
	}
	f.Fuzz(func(t *testing.T, failing uint8, query string) {
		names, words, unknown := []string{"ping", "a", "b", "c/d", `"`, "é"}, "", []string(nil)
		asked, _ := url.ParseQuery(query)
		code, want, end := 200, "", "healthz check passed\n"
		for i, name := range names {
			fails := i > 0 && failing>>i&1 == 1
			switch {
			case slices.Contains(asked["exclude"], name):
				want += "[+]" + name + " excluded: ok\n"
			case fails:
				want, code, end = want+"[-]"+name+" failed: reason withheld\n", 500, "healthz check failed\n"
			default:
				want += "[+]" + name + " ok\n"
			}
			words += map[bool]string{false: " ", true: " -"}[fails] + name
		}
		for _, name := range slices.Compact(slices.Sorted(slices.Values(asked["exclude"]))) {
			if !slices.Contains(names, name) {
				unknown = append(unknown, fmt.Sprintf("%q", name))
			}
		}
		if unknown != nil {
			want += "warn: some health checks cannot be excluded: no matches for " + strings.Join(unknown, ",") + "\n"
		}
		if want += end; code == 200 && asked["verbose"] == nil {
			want = "ok"
		}
		w := httptest.NewRecorder()
		handler := node.API{Live: checks(words)[1:], Logger: slog.New(slog.DiscardHandler)}.HealthHandler()
		handler.ServeHTTP(w, &http.Request{Method: "GET", URL: &url.URL{Path: "/healthz", RawQuery: query}})
		if w.Code != code || w.Body.String() != want {
			t.Errorf("%06b, %q: %d %q, want %d %q", failing, query, w.Code, w.Body, code, want)
		}
	})
}
