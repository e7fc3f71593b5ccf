package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// serveHealthz serves handler in plain HTTP until ctx ends. Where it cannot, it
// says so once and tries again every five seconds, as the kubelet does
// (run of cmd/kubelet/app/server.go).
func serveHealthz(ctx context.Context, address string, handler http.Handler, logger *slog.Logger) {
	server := &http.Server{
		Addr: address, Handler: handler, MaxHeaderBytes: 16 << 10,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
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
