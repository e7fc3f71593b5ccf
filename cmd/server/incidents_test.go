package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"kubeletauth/kubeletapi/node"
)

// The health port, which asks nobody who they are, says whether all is well, and
// nothing else; and it speaks no HTTP/2.
func TestHealthPortIncidents(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		api := node.API{LogDir: t.TempDir(), Profiling: http.DefaultServeMux, Metrics: func(io.Writer) error { return nil }}
		serveHealthz(ctx, address, api.HealthHandler(), slog.New(slog.DiscardHandler))
	}()
	defer func() { cancel(); <-ended }()
	for _, test := range []struct {
		name, request string
		code          int
	}{
		{"health", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"pprof", "GET /debug/pprof/heap HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"pprof past health", "GET /healthz/../debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n", 307},
		{"pprof past health, encoded", "GET /healthz/%2e%2e/debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"metrics", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"logs", "GET /logs/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"a checkpoint", "POST /checkpoint/ns/pod/container HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404},
		{"h2c preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		{"an upgrade to h2c", "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 200},
		{"a long header", "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", 431},
	} {
		conn, err := net.Dial("tcp", address)
		for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); conn, err = net.Dial("tcp", address) {
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(conn, test.request)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != test.code || response.ProtoMajor != 1 {
			t.Errorf("%s: %v, %v, want %d", test.name, response, err, test.code)
		}
		conn.Close()
	}
}
