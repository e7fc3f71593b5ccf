// Nodeagent is a program as it might stand in a repository of its own: an agent
// on each node, whose mux is guarded as the kubelet's is. It imports kubeletauth
// and the standard library, and nothing else.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := run(ctx, os.Args[1:], logger, func(a net.Addr) { logger.Info("Serving", "address", a.String()) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "nodeagent:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. It calls ready once it does.
func run(ctx context.Context, args []string, logger *slog.Logger, ready func(net.Addr)) error {
	cfg := kubeletapi.Config{AuthenticationTokenWebhook: true, AuthorizationMode: kubeletapi.ModeWebhook, Logger: logger}
	flags := flag.NewFlagSet("nodeagent", flag.ContinueOnError)
	flags.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "file that says how to reach the API server")
	flags.StringVar(&cfg.ClientCAFile, "client-ca-file", "", "authorities whose client certificates are accepted")
	flags.StringVar(&cfg.HostnameOverride, "node", "", "name of the node; empty: the host's")
	listen := flags.String("listen", "127.0.0.1:10300", "address to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	auth, err := kubeletapi.New(cfg)
	if err != nil {
		return err
	}
	defer auth.Close()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &kubeletapi.Server{Config: cfg, Auth: auth, Ready: ready}
	server.Handler = newMux(auth, server)
	return server.Serve(ctx, listener)
}

// newMux is what the agent shows. It protects nothing by itself.
func newMux(auth *kubeletapi.Auth, server *kubeletapi.Server) *http.ServeMux {
	health := node.API{Ready: []node.Check{
		{Name: "serving-certificate", Check: server.CheckCertificate},
		{Name: "api-server", Check: auth.CheckAPIServer},
	}}.HealthHandler()
	mux := http.NewServeMux()
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		io.WriteString(w, "# TYPE nodeagent_volumes gauge\nnodeagent_volumes 2\n")
		auth.WriteMetrics(w)
	})
	mux.HandleFunc("GET /volumes", func(w http.ResponseWriter, r *http.Request) {
		user, _ := authn.UserFrom(r.Context())
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"for": user.Username, "volumes": []string{"disk-1", "disk-2"}})
	})
	return mux
}
