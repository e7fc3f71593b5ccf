package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// serveHealthz serves handler in plain HTTP until ctx ends. Where it cannot, it
// says so once and tries again every five seconds, as the kubelet does
// (run of cmd/kubelet/app/server.go).
func serveHealthz(ctx context.Context, address string, handler http.Handler, logger *slog.Logger) {
	server := &http.Server{
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn), ConnState: new(newest).follow,
		Addr: address, Handler: handler, MaxHeaderBytes: 16 << 10,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	context.AfterFunc(ctx, func() { server.Close() })
	level := slog.LevelWarn
	for {
		err := server.ListenAndServe()
		if ctx.Err() != nil {
			return
		}
		logger.Log(ctx, level, "Cannot serve health checks; trying again every 5 seconds (--healthz-port gives another port, 0 none)", "address", address, "err", err)
		level = slog.LevelDebug
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}

// maxProbes is how many connections there are at the most: whoever can reach this
// port, which has no filter, cannot use up what the other one needs.
const maxProbes = 100

// newest closes the oldest connection when there is one too many.
type newest struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (n *newest) follow(conn net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch state {
	case http.StateNew:
		n.conns = append(n.conns, conn)
		if len(n.conns) > maxProbes {
			n.conns[0].Close()
			n.conns = slices.Delete(n.conns, 0, 1)
		}
	case http.StateClosed, http.StateHijacked:
		n.conns = slices.DeleteFunc(n.conns, func(c net.Conn) bool { return c == conn })
	}
}
