package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

// The agent answers as a kubelet would: who may do what is the API server's to say.
func TestAnswers(t *testing.T) {
	api := apiservertest.MustStart(t, apiservertest.Config{})
	api.SetToken("scraper-token", authn.UserInfo{Username: "scraper"})
	api.AllowUser("scraper", "get", "metrics")
	api.SetToken("admin-token", authn.UserInfo{Username: "admin"})
	api.AllowUser("admin", "*", "proxy", "metrics")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, api.Kubeconfig(""), 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	serving, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-listen=127.0.0.1:0", "-node=n1", "-kubeconfig=" + kubeconfig}, slog.New(slog.DiscardHandler), func(a net.Addr) { serving <- a })
	}()
	var address net.Addr
	select {
	case err := <-ended:
		t.Fatal(err)
	case address = <-serving:
	}
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	for _, tt := range []struct {
		path, token string
		code        int
		body        string // a part
	}{
		{"/metrics", "", 401, "Unauthorized"},
		{"/metrics", "stolen-token", 401, "Unauthorized"},
		{"/metrics", "scraper-token", 200, "nodeagent_volumes 2\n"},
		{"/metrics", "scraper-token", 200, "kubelet_http_requests_total"},
		{"/volumes", "scraper-token", 403, "Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[proxy])"},
		{"/volumes", "admin-token", 200, `"for":"admin"`},
		{"/readyz", "admin-token", 200, "ok"},
		{"/nothing", "scraper-token", 403, "Forbidden"},
		{"/nothing", "admin-token", 404, "not found"},
	} {
		request, err := http.NewRequest("GET", "https://"+address.String()+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.token != "" {
			request.Header.Set("Authorization", "Bearer "+tt.token)
		}
		response, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != tt.code || !strings.Contains(string(body), tt.body) {
			t.Errorf("%s with %q: %d %.300s (%v), want %d %s", tt.path, tt.token, response.StatusCode, body, err, tt.code, tt.body)
		}
	}
}
