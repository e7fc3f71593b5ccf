//go:build unix

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// get returns the status and the body, or the error.
func get(url string) string {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(body))
}

// What is whose, and where.
func TestUpstreamAndHealth(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "upstream "+r.URL.Path) }))
	defer service.Close()
	binary := build(t)
	const all = "/metrics:upstream|/metrics/kubeletauth:kubelet_http_requests_total|/metrics/kubeletauthx:upstream"
	for _, tt := range []struct{ flags, want string }{
		{"--upstream=" + service.URL, all + "|/configz:upstream|/healthz:upstream|/debug/pprof/:upstream|/x:upstream"},
		{"--upstream=" + service.URL + " --upstream-paths=/", all + "|/configz:upstream|/x:upstream"},
		{"--upstream=" + service.URL + " --upstream-paths=/metrics,/app", all + "|/app/x:upstream|/application:404|/configz:kubeletconfig|/healthz:200 ok|/debug/pprof/:404"},
		{"--profiling --system-log-dir=" + t.TempDir(), "/debug/pprof/:goroutine|/logs/:<pre>|/readyz:200 ok|/stats/summary:nodeName|/metrics/resource:resource_scrape_error|/x:404"},
		{"--system-log-dir=", "/logs/:404|/debug/pprof/:404"},
	} {
		port, health := freePort(t), freePort(t)
		args := append(strings.Fields(tt.flags), "--port="+strconv.Itoa(port), "--healthz-port="+strconv.Itoa(health))
		_, stderr := process(t, "", binary, args...)
		waitFor(t, stderr, "msg=Serving")
		for row := range strings.SplitSeq(tt.want, "|") {
			path, want, _ := strings.Cut(row, ":")
			if got := get(fmt.Sprintf("https://127.0.0.1:%d%s", port, path)); !strings.Contains(got, want) {
				t.Errorf("%s, %s: %.200q, want %s", tt.flags, path, got, want)
			}
		}
		await(t, fmt.Sprintf("http://127.0.0.1:%d/healthz", health)) // its listener may be a moment later
		for path, want := range map[string]string{
			"/healthz": "200 ok", "/healthz/ping": "200 ok", "/readyz": "200 ok", "/readyz/serving-certificate": "200 ok", "/readyz/client-ca": "200 ok",
			"/readyz/api-server": "200 ok", "/metrics": "404", "/configz": "404", "/logs/": "404", "/debug/pprof/": "404", "/": "404",
		} {
			if got := get(fmt.Sprintf("http://127.0.0.1:%d%s", health, path)); !strings.HasPrefix(got, want) {
				t.Errorf("health, %s: %q, want %s", path, got, want)
			}
		}
	}
}

// A health port that is taken keeps nothing from being served, and is taken over
// when it is free.
func TestHealthPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	health := taken.Addr().(*net.TCPAddr).Port
	port := freePort(t)
	_, stderr := process(t, "", build(t), "--port="+strconv.Itoa(port), "--healthz-port="+strconv.Itoa(health))
	waitFor(t, stderr, "Cannot serve health checks")
	await(t, fmt.Sprintf("https://127.0.0.1:%d/healthz", port))
	taken.Close()
	await(t, fmt.Sprintf("http://127.0.0.1:%d/healthz", health))
}

// await waits until a URL answers with ok.
func await(t *testing.T, url string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); get(url) != "200 ok"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %s", url, get(url))
		}
	}
}
