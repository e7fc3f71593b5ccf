//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Whoever keeps connections to the healthz port open, with or without a request,
// keeps nobody out, nor open more than there are to be.
func TestHealthzConnections(t *testing.T) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer stop()
	serving.Go(func() {
		serveHealthz(ctx, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }), slog.New(slog.DiscardHandler))
	})
	await(t, "http://"+address+"/healthz")
	var held []net.Conn
	for i := range 3 * maxProbes {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		held = append(held, conn)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 10 {
		res, err := client.Get("http://" + address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	open := len(held)
	for end := time.Now().Add(5 * time.Second); open > maxProbes && time.Now().Before(end); { // before they close by themselves
		open = 0
		for _, conn := range held {
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
		}
	}
	if open > maxProbes {
		t.Errorf("%d connections are open", open)
	}
}
