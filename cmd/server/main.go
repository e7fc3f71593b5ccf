// Server serves this node's API over HTTPS, authenticated and authorized as the
// kubelet's is. Run it with -h for its flags, which are the kubelet's own.
//
// It exits with 0 after SIGTERM or SIGINT, once the requests under way are
// finished or 20 seconds have passed; a second signal ends it at once. It exits
// with 2 if a flag cannot be understood, and with 1 if anything else prevents it
// from serving, as a flag that another one needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/decisionlog"
	"kubeletauth/kubeletapi/node"
	"kubeletauth/kubeletapi/options"
	"kubeletauth/kubeletapi/upstream"
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
	log.SetOutput(io.Discard) // net/http's client would quote there what an API server sends unasked: our own token, if it likes
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal has its usual effect
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// subcommand is what a first argument of its name runs in place of serving. Its
// run returns the exit code.
type subcommand struct {
	name, usage string
	run         func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

// subcommands are listed by -h in this order.
func subcommands() []subcommand {
	return []subcommand{
		{"check", "says whether the configuration would work, and who may do what", checkCommand},
		{"explain", "says what one request would be answered, and which role it lacks", explainCommand},
		{"rbac", "prints the roles that a cluster needs, as YAML to apply", rbacCommand},
	}
}

// run returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	for _, c := range subcommands() {
		if len(args) > 0 && args[0] == c.name {
			return c.run(ctx, args[1:], stdout, stderr)
		}
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	opts, ignored, err := options.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, synopsis)
		for _, c := range subcommands() {
			fmt.Fprintf(stdout, "\n  server %s [-h]\n        %s\n", c.name, c.usage)
		}
		options.Print(stdout)
		fmt.Fprint(stdout, example)
		return 0
	}
	if err == nil {
		if len(ignored) > 0 {
			logger.Info("Fields of the kubelet that have no meaning here", "fields", ignored)
		}
		opts.Logger = logger
		err = serve(ctx, opts)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "server:", err)
	if errors.As(err, new(*options.UsageError)) {
		return 2
	}
	return 1
}

func serve(ctx context.Context, opts options.Options) error {
	if !opts.Profiling {
		runtime.MemProfileRate = 0 // nobody can see the profile
	}
	if opts.DecisionLog != "" {
		log, end, err := openDecisionLog(opts)
		if err != nil {
			return err
		}
		defer end()
		opts.EventLogger = log
	}
	auth, err := kubeletapi.New(opts.Config)
	if err != nil {
		return err
	}
	defer auth.Close()
	var background sync.WaitGroup
	defer background.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &kubeletapi.Server{Config: opts.Config, Auth: auth}
	api := nodeAPI(opts, auth, server)
	server.Handler = api.Handler()
	if opts.Upstream.URL != "" {
		opts.Upstream.Logger = opts.Logger
		if opts.Upstream.CAFile+opts.Upstream.CertFile != "" {
			opts.Upstream.Report = auth.ReportReload("upstream")
		}
		proxy, err := upstream.New(opts.Upstream)
		if err != nil {
			return err
		}
		server.Handler = route(opts.UpstreamPaths, proxy, server.Handler)
		background.Go(func() { shutDown(ctx, proxy) })
	}
	server.Ready = func(address net.Addr) {
		opts.Logger.Info("Serving", "url", "https://"+address.String(), "node", auth.NodeName)
		background.Go(func() { notify(ctx, address, api.HealthHandler(), opts.Logger) })
	}
	if opts.HealthzPort > 0 {
		address := net.JoinHostPort(opts.HealthzBindAddress, strconv.Itoa(opts.HealthzPort))
		background.Go(func() { serveHealthz(ctx, address, api.HealthHandler(), opts.Logger) })
	}
	return server.ListenAndServe(ctx)
}

// openDecisionLog opens it, and again at each SIGHUP until end closes it: without
// that, the signal would end the process, and cut what is under way.
func openDecisionLog(opts options.Options) (log *decisionlog.Log, end func(), err error) {
	log, err = decisionlog.Open(decisionlog.Config{Path: opts.DecisionLog, Blocking: opts.DecisionLogMode == options.BlockingMode, Logger: opts.Logger})
	if err != nil {
		return nil, nil, fmt.Errorf("--decision-log: %w", err)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			if err := log.Reopen(); err != nil {
				opts.Logger.Error("The decision log goes on in the old file", "err", err)
			}
		}
	}()
	return log, func() { log.Close(); signal.Stop(hup); close(hup) }, nil
}

// route passes the paths below prefixes on, or all if there are none, but never
// that of this server's own metrics.
func route(prefixes []string, proxy, own http.Handler) http.Handler {
	if len(prefixes) > 0 {
		proxy = upstream.Route(prefixes, proxy, own)
	}
	return upstream.Route([]string{"/metrics/kubeletauth"}, own, proxy)
}

// shutDown gives the tunnels 20 seconds to end once ctx has ended.
func shutDown(ctx context.Context, proxy *upstream.Proxy) {
	<-ctx.Done()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	proxy.Shutdown(drain)
}

func nodeAPI(opts options.Options, auth *kubeletapi.Auth, server *kubeletapi.Server) node.API {
	api := node.API{
		NodeName: auth.NodeName,
		Metrics:  auth.WriteMetrics,
		Configz:  opts.Configz(),
		Ready: []node.Check{
			{Name: "serving-certificate", Check: server.CheckCertificate},
			{Name: "client-ca", Check: auth.CheckClientCA},
			{Name: "api-server", Check: auth.CheckAPIServer},
		},
		Logger: opts.Logger,
	}
	if opts.EnableSystemLogHandler {
		api.LogDir = opts.SystemLogDir
	}
	if opts.Profiling {
		api.Profiling = http.DefaultServeMux // where net/http/pprof is
	}
	return api
}
