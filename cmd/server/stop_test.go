//go:build unix

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

// stopped is a server that is stopped while requests arrive at its upstream.
type stopped struct {
	*testing.T
	url     string
	arrived sync.Map      // the queries of requests without a whole answer yet
	release chan struct{} // closed, it lets streams and reviews end
	streams atomic.Int32
}

func (s *stopped) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.arrived.Store(r.URL.RawQuery, nil)
	if r.URL.Path == "/stream" {
		http.NewResponseController(w).Flush()
		s.streams.Add(1)
		<-s.release
	}
	if r.URL.Path == "/tunnel" {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			s.Error(err)
			return
		}
		defer conn.Close()
		s.streams.Add(1)
		<-s.release
		io.WriteString(conn, "whole")
		return
	}
	io.WriteString(w, "whole")
}

func (s *stopped) client(http2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
	s.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// ask returns an error unless the answer is whole.
func (s *stopped) ask(client *http.Client, path, token string) error {
	request, _ := http.NewRequest("GET", s.url+path, nil)
	request.Header.Set("Authorization", "Bearer "+token)
	if strings.HasPrefix(path, "/tunnel") {
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "websocket")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "whole" {
		return fmt.Errorf("%s: %d, %q, %w", path, response.StatusCode, body, err)
	}
	_, query, _ := strings.Cut(path, "?")
	s.arrived.Delete(query)
	return nil
}

// After SIGTERM the program finishes what it has accepted, and exits with 0.
func TestStopUnderLoad(t *testing.T) {
	binary := build(t)
	api := apiservertest.MustStart(t, apiservertest.Config{})
	api.AllowUser("jane", "*", "*")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, api.Kubeconfig(""), 0o600); err != nil {
		t.Fatal(err)
	}
	var exited []func() // an HTTP/2 connection takes a second to close
	for range 100 {
		s := &stopped{T: t, release: make(chan struct{})}
		exited = append(exited, s.once(binary, kubeconfig, api))
	}
	for _, wait := range exited {
		wait()
	}
}

// once returns when everyone has an answer. What it returns waits for the exit.
func (s *stopped) once(binary, kubeconfig string, api *apiservertest.Server) (exited func()) {
	service := httptest.NewServer(s)
	s.Cleanup(service.Close)
	port := freePort(s.T)
	s.url = fmt.Sprintf("https://127.0.0.1:%d", port)
	server, stderr := process(s.T, "", binary, "--anonymous-auth=false", "--authentication-token-webhook", "--authorization-mode=Webhook",
		"--kubeconfig="+kubeconfig, "--healthz-port=0", "--port="+strconv.Itoa(port), "--upstream="+service.URL)
	waitFor(s.T, stderr, "msg=Serving")
	api.SetToken("good", authn.UserInfo{Username: "jane"})
	api.SetToken("cold", authn.UserInfo{Username: "jane"})
	if err := s.ask(s.client(true), "/short?first", "good"); err != nil {
		s.Fatal(err)
	}
	api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Hang: s.release})
	defer api.Inject(apiservertest.TokenReviews)
	var load, held sync.WaitGroup
	for _, http2 := range []bool{false, true} {
		load.Go(func() {
			client := s.client(http2)
			for n := 0; s.ask(client, fmt.Sprint("/short?", http2, n), "good") == nil; n++ {
			}
		})
	}
	for path, token := range map[string]string{"/stream?stream": "good", "/tunnel?tunnel": "good", "/short?review": "cold"} {
		held.Go(func() {
			if err := s.ask(s.client(false), path, token); err != nil {
				s.Error(err)
			}
		})
	}
	s.until("the load is there", func() bool { now, _ := api.InFlight(); return s.streams.Load() == 2 && now == 1 })
	server.Process.Signal(syscall.SIGTERM)
	time.Sleep(20 * time.Millisecond)
	close(s.release)
	held.Wait()
	load.Wait()
	return func() {
		if err := server.Wait(); err != nil {
			s.Error(err)
		}
		s.arrived.Range(func(query, _ any) bool {
			s.Errorf("no whole answer to %v", query)
			return true
		})
	}
}

func (s *stopped) until(what string, done func() bool) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatal("not so within 20 seconds: ", what)
		}
	}
}

// A credential plugin that hangs ends with the program, and so do its children if
// the program can see to it.
func TestPluginEndsWithTheServer(t *testing.T) {
	binary := build(t)
	for _, test := range []struct {
		name     string
		signals  []syscall.Signal
		children bool
		only     string // on this system
	}{
		{"SIGTERM", []syscall.Signal{syscall.SIGTERM}, true, ""},
		{"a second SIGTERM", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, false, "linux"},
		{"a second SIGINT", []syscall.Signal{syscall.SIGINT, syscall.SIGINT}, false, "linux"},
		{"SIGKILL", []syscall.Signal{syscall.SIGKILL}, false, "linux"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.only != "" && test.only != runtime.GOOS {
				t.Skip("nothing ends it here")
			}
			pluginEnds(t, binary, test.signals, test.children)
		})
	}
}

func pluginEnds(t *testing.T, binary string, signals []syscall.Signal, children bool) {
	api := apiservertest.MustStart(t, apiservertest.Config{})
	dir := t.TempDir()
	plugin := fmt.Sprintf("#!/bin/sh\nsleep 1000 &\necho $$ $! > %s/new && mv %s/new %s/pids\nwait\n", dir, dir, dir)
	if err := os.WriteFile(filepath.Join(dir, "plugin"), []byte(plugin), 0o700); err != nil {
		t.Fatal(err)
	}
	kubeconfig := strings.Replace(string(api.Kubeconfig("x")), `token: "x"`, `exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Never}`, 1)
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	s := &stopped{T: t, url: fmt.Sprintf("https://127.0.0.1:%d", port)}
	server, stderr := process(t, "", binary, "--anonymous-auth=false", "--authentication-token-webhook", "--authorization-mode=Webhook",
		"--kubeconfig="+filepath.Join(dir, "kubeconfig"), "--healthz-port=0", "--port="+strconv.Itoa(port))
	waitFor(t, stderr, "msg=Serving")
	client := s.client(false)
	if children {
		client.Timeout = time.Second
	}
	asked := make(chan error)
	go func() { asked <- s.ask(client, "/short", "good") }()
	var pids []string
	s.until("the plugin runs", func() bool {
		content, _ := os.ReadFile(filepath.Join(dir, "pids"))
		pids = strings.Fields(string(content))
		return len(pids) == 2
	})
	child, _ := strconv.Atoi(pids[1])
	t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	for i, signal := range signals {
		if i > 0 {
			time.Sleep(300 * time.Millisecond) // the request that waits for the plugin keeps it up
		}
		server.Process.Signal(signal)
	}
	if err := <-ended; (err == nil) != children {
		t.Error(err)
	}
	if err := <-asked; err == nil {
		t.Error("an answer without a credential")
	}
	if !children {
		pids = pids[:1]
	}
	for _, text := range pids {
		pid, _ := strconv.Atoi(text)
		s.until("process "+text+" is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
	}
}

// zombie reports whether a process has ended, and nobody has asked how.
func zombie(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(stat), ") Z ")
}
