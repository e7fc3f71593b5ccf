package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/kubeletapi/node"
)

// pods is a source in one function.
type pods func(context.Context) ([]json.RawMessage, error)

func (p pods) Pods(ctx context.Context) ([]json.RawMessage, error) { return p(ctx) }

func TestPods(t *testing.T) {
	raw := func(texts ...string) (list []json.RawMessage) {
		for _, text := range texts {
			list = append(list, json.RawMessage(text))
		}
		return list
	}
	list := func(items string) string {
		return `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[` + items + "]}\n"
	}
	const failed = "Internal Server Error\n"
	for _, tt := range []struct {
		name   string
		pods   []json.RawMessage
		err    error
		code   int
		body   string
		logged string
	}{
		{"none", nil, nil, 200, list(""), ""},
		{"no pods", raw(), nil, 200, list(""), ""},
		{"one", raw(`{"metadata":{"name":"a"}}`), nil, 200, list(`{"metadata":{"name":"a"}}`), ""},
		{"two", raw(`{"a":1}`, ` { "b" : 2 } `), nil, 200, list(`{"a":1},{"b":2}`), ""},
		{"large number", raw(`{"a":9007199254740993}`), nil, 200, list(`{"a":9007199254740993}`), ""},
		{"markup", raw(`{"a":"</script>"}`), nil, 200, list(`{"a":"\u003c/script\u003e"}`), ""},
		{"format verbs", raw(`{"a":"%s%d"}`), nil, 200, list(`{"a":"%s%d"}`), ""},
		{"not JSON", raw(`{"a":1}`, `{`), nil, 500, failed, "unexpected end of JSON"},
		{"two values", raw(`{"a":1},{"b":2}`), nil, 500, failed, "after top-level value"},
		{"closes the list", raw(`{}],"x":[{}`), nil, 500, failed, "after top-level value"},
		{"empty", raw(``), nil, 500, failed, "unexpected end of JSON"},
		{"error", nil, errors.New("no route to pods"), 500, failed, "no route to pods"},
		{"error and pods", raw(`{"a":1}`), errors.New("half of them"), 500, failed, "half of them"},
		{"error and rubbish", raw(`{`), errors.New("half of them"), 500, failed, "half of them"},
	} {
		var log bytes.Buffer
		api := node.API{
			Pods:   pods(func(context.Context) ([]json.RawMessage, error) { return tt.pods, tt.err }),
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		for _, path := range []string{"/pods", "/pods/", "/runningpods", "/runningpods/"} {
			log.Reset()
			w := serve(api.Handler(), "GET", path)
			if w.Code != tt.code || w.Body.String() != tt.body || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %s: %d %q", tt.name, path, w.Code, w.Body)
			}
			if got := log.String(); !strings.Contains(got, tt.logged) || (got == "") != (tt.code == 200) {
				t.Errorf("%s: %s: logged %q", tt.name, path, got)
			}
		}
	}
}

func TestPodsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := node.API{
			Pods:   pods(func(ctx context.Context) ([]json.RawMessage, error) { <-ctx.Done(); return nil, ctx.Err() }),
			Logger: slog.New(slog.DiscardHandler),
		}
		handler := api.Handler()
		began := time.Now()
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		handler.ServeHTTP(discard{}, request(t, "/pods").WithContext(ctx))
		if took := time.Since(began); took != time.Second {
			t.Errorf("the client left after a second, the source was asked for %v", took)
		}
		began = time.Now()
		w := serve(handler, "GET", "/pods")
		if took := time.Since(began); w.Code != 500 || took != 10*time.Second {
			t.Errorf("%d after %v", w.Code, took)
		}
	})
}
