// Server serves this node's API over HTTPS, authenticated and authorized as the
// kubelet's is. Run it with -h for its flags, which are the kubelet's own.
//
// It exits with 0 after SIGTERM or SIGINT, once the requests under way are
// finished or 20 seconds have passed; a second signal ends it at once. It exits
// with 2 if its flags cannot be used, and with 1 if anything else prevents it
// from serving.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/node"
)

const synopsis = `Usage: server [flags]

Serves this node's API over HTTPS, and lets a request pass as the kubelet does:
if it is known who asks, and if that user may do what the request asks for.
Without flags, everyone on this machine may do everything.
`

const example = `
Example, with certificates and tokens, and every request decided by RBAC:
  server --anonymous-auth=false --client-ca-file=/etc/kubernetes/pki/ca.crt \
    --authentication-token-webhook --authorization-mode=Webhook \
    --kubeconfig=/etc/kubernetes/kubelet.conf --address=0.0.0.0
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal has its usual effect
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	cfg, ignored, err := kubeletapi.ParseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, synopsis)
		kubeletapi.PrintFlags(stdout)
		fmt.Fprint(stdout, example)
		return 0
	}
	if err == nil {
		if len(ignored) > 0 {
			logger.Info("Fields of the kubelet that have no meaning here", "fields", ignored)
		}
		cfg.Logger = logger
		err = serve(ctx, cfg)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "server:", err)
	if errors.As(err, new(*kubeletapi.UsageError)) {
		return 2
	}
	return 1
}

func serve(ctx context.Context, cfg kubeletapi.Config) error {
	auth, err := kubeletapi.New(cfg)
	if err != nil {
		return err
	}
	defer auth.Close()
	server := kubeletapi.Server{
		Config:  cfg,
		Auth:    auth,
		Handler: node.API{Metrics: auth.WriteMetrics, Configz: cfg.Configz()}.Handler(),
		Ready: func(address net.Addr) {
			cfg.Logger.Info("Serving", "url", "https://"+address.String(), "node", auth.NodeName)
		},
	}
	return server.ListenAndServe(ctx)
}
