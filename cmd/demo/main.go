// Demo shows on one machine, without a cluster, who gets which answer: a
// stand-in API server, the server, certificates, tokens and a policy. It prints
// lines for curl with the answer that each gets, and tries them first. The
// policy may be edited while it runs, and counts a second or two later.
//
// All that it writes is in a new folder that only its user can read, and is gone
// when it ends, with SIGINT or SIGTERM. It listens on this machine only. It
// exits with 2 if its flags cannot be used, and with 1 if it cannot do its work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"kubeletauth/kubeletapi/apiservertest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal has its usual effect
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run shows everything until ctx ends, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	port := flags.Int("port", 10450, "`port` of the server, on 127.0.0.1; 0 is a free one")
	apiServerPort := flags.Int("api-server-port", 10443, "`port` of the stand-in API server, on 127.0.0.1; 0 is a free one")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil && flags.NArg() > 0:
		fmt.Fprintf(stderr, "demo: unexpected argument %q (-h lists the flags)\n", flags.Arg(0))
		return 2
	case err != nil:
		return 2
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn) // what is refused while the lines are tried is as it should be
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	err = demo(ctx, *port, *apiServerPort, logger, func(w *world) error {
		if err := w.guide(stdout); err != nil {
			return err
		}
		level.Set(slog.LevelInfo)
		w.watch(ctx)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, "demo:", err)
		return 1
	}
	return 0
}

// demo calls use with all that there is, while it serves, and takes it down
// afterwards.
func demo(ctx context.Context, port, apiServerPort int, logger *slog.Logger, use func(*world) error) error {
	dir, err := os.MkdirTemp("", "kubeletauth-demo-") // with mode 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := &world{dir: dir, logger: logger, tokens: map[string]string{}}
	if w.apiServer, err = apiservertest.Start(apiservertest.Config{Addr: loopback(apiServerPort)}); err != nil {
		return fmt.Errorf("--api-server-port: %w", err)
	}
	defer w.apiServer.Close()
	if err := w.writeFiles(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served, err := w.startServer(ctx, port)
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	err = use(w)
	cancel()
	return errors.Join(err, <-served)
}
