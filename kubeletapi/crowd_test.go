package kubeletapi_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"kubeletauth/kubeletapi"
)

// Of more connections than the server takes, those go that have shown nothing.
func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t)
	auth, err := kubeletapi.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auth.Close)
	w.api.AllowUser("jane", "get", "metrics")
	w.serve(&kubeletapi.Server{Config: w.cfg, Auth: auth, MaxConnections: 20, Handler: http.NotFoundHandler()})
	known := w.client("HTTP/1.1", nil)
	reused := countConnections(known)
	w.want(404, known, "/metrics", "Bearer "+goodToken)
	for range 100 {
		defer w.dial().Close()
	}
	w.want(404, known, "/metrics", "Bearer "+goodToken)
	if *reused != 1 {
		t.Errorf("an honest client needed %d connections", *reused)
	}
	w.want(404, w.client("HTTP/1.1", nil), "/metrics", "Bearer "+goodToken)
	var metrics bytes.Buffer
	if auth.WriteMetrics(&metrics); !strings.Contains(metrics.String(), "kubeletauth_evicted_connections_total 82\n") {
		t.Errorf("of 102 connections, 82 had to go:\n%s", &metrics)
	}
}

// A server that is told nothing of it takes 10,000 connections, and 4,096 requests
// of strangers at once.
func TestDefaultBounds(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("FIPS 140 cryptography makes no keys where time stands still")
	}
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		cfg := kubeletapi.Config{AnonymousAuth: true, AuthorizationMode: kubeletapi.ModeAlwaysAllow, HostnameOverride: "n1",
			TLSCertFile: w.cfg.TLSCertFile, TLSPrivateKeyFile: w.cfg.TLSPrivateKeyFile, Logger: slog.New(slog.DiscardHandler)}
		auth, err := kubeletapi.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close()
		want := func(evicted int, when string) {
			t.Helper()
			synctest.Wait()
			var metrics bytes.Buffer
			if auth.WriteMetrics(&metrics); !strings.Contains(metrics.String(), fmt.Sprintf("kubeletauth_evicted_connections_total %d\n", evicted)) {
				_, got, _ := strings.Cut(metrics.String(), "evicted_connections_total counter\n")
				t.Errorf("%s: not %d evicted connections but %.60s", when, evicted, got)
			}
		}
		network, release, served := listenOnPipes(), make(chan struct{}), make(chan error)
		var held atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			served <- (&kubeletapi.Server{Config: cfg, Auth: auth, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				held.Add(1)
				<-release
			})}).Serve(ctx, network)
		}()

		var requests sync.WaitGroup
		strangers := &http.Transport{DialContext: network.dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		ask := func() {
			requests.Go(func() {
				if response, err := strangers.RoundTrip(&http.Request{Method: "POST", URL: nowhere, Header: http.Header{}}); err == nil {
					response.Body.Close()
				}
			})
			synctest.Wait()
		}
		for range 4096 {
			ask()
		}
		if want(0, "4,096 requests"); held.Load() != 4096 {
			t.Errorf("%d requests are under way", held.Load())
		}
		ask()
		want(1, "one more")
		close(release)
		requests.Wait()
		strangers.CloseIdleConnections()
		synctest.Wait()

		var open []io.Closer
		for range 10_001 {
			if len(open) == 10_000 {
				want(1, "10,000 connections")
			}
			conn, err := network.dial(ctx, "", "")
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
		want(2, "one more")
		for _, conn := range open {
			conn.Close()
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

var nowhere = &url.URL{Scheme: "https", Host: "n1", Path: "/"}

// Whoever shows no credential gets one answer of an HTTP/2 connection.
func TestStrangersConnectionIsClosed(t *testing.T) {
	for _, test := range []struct {
		name, path, authorization string
		anonymous                 bool
		code, connections         int
	}{
		{"no credential", "/metrics", "", false, 401, 3},
		{"a bad token", "/metrics", "Bearer bad", false, 401, 3},
		{"anonymous, who may not", "/metrics", "", true, 403, 3},
		{"a redirect, which comes before the credential", "//metrics", "", false, 307, 3},
		{"a path that is refused before it", "/a%2fb", "", false, 400, 3},
		{"a good token", "/metrics", "Bearer " + goodToken, false, 200, 1},
	} {
		w := newWorld(t)
		w.cfg.AnonymousAuth = test.anonymous
		w.api.AllowUser("jane", "get", "metrics")
		w.start()
		client := w.client("HTTP/2.0", nil)
		connections := countConnections(client)
		for range 3 {
			w.want(test.code, client, test.path, test.authorization)
		}
		if *connections != test.connections {
			t.Errorf("%s: %d connections for 3 requests, not %d", test.name, *connections, test.connections)
		}
	}
}

// countConnections counts those that a client opens.
func countConnections(client *http.Client) *int {
	n := new(int)
	next := client.Transport
	client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			if !i.Reused {
				*n++
			}
		}}
		return next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	})
	return n
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
