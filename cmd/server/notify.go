package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// serviceManager is who started this process and wants to hear how it goes, in
// the way of sd_notify(3). The zero serviceManager hears nothing.
type serviceManager struct {
	socket   string        // absolute path, or @name in the abstract namespace
	watchdog time.Duration // how often it wants to hear that all is well; 0: never
}

// minWatchdog is for one that does not keep the server from all else.
const minWatchdog = 100 * time.Millisecond

// managerOf reads what the service manager says in the environment. What it
// says to another process is not for this one (sd_watchdog_enabled(3)).
func managerOf(env func(string) string) (m serviceManager, err error) {
	m.socket = env("NOTIFY_SOCKET")
	if m.socket == "" {
		return m, nil
	}
	if m.socket[0] != '/' && m.socket[0] != '@' {
		return serviceManager{}, fmt.Errorf("NOTIFY_SOCKET %q: must be an absolute path or begin with @", m.socket)
	}
	usec, pid := env("WATCHDOG_USEC"), env("WATCHDOG_PID")
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return m, nil
	}
	n, err := strconv.ParseUint(usec, 10, 64)
	if err != nil || n < uint64(minWatchdog.Microseconds()) || n > math.MaxInt64/1000 {
		return m, fmt.Errorf("WATCHDOG_USEC %q: must be a number of microseconds, and %v or more", usec, minWatchdog)
	}
	m.watchdog = time.Duration(n) * time.Microsecond
	return m, nil
}

// send passes a state on. It takes a second at most.
func (m serviceManager) send(state string) error {
	conn, err := net.DialTimeout("unixgram", m.socket, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, err = conn.Write([]byte(state))
	return err
}

// notify tells the service manager, if there is one, that this process serves
// at address, and that it stops once ctx ends; that is when notify returns. In
// between it tells the watchdog twice in each period that all is well, as long
// as the process takes connections and health answers.
func notify(ctx context.Context, address net.Addr, health http.Handler, logger *slog.Logger) {
	m, err := managerOf(os.Getenv)
	if err != nil {
		logger.Warn("Cannot tell the service manager all that it wants to know", "err", err)
	}
	if m.socket == "" {
		return
	}
	alive := func(ctx context.Context) error { return ping(ctx, address, health) }
	follow(ctx, m.watchdog/2, alive, func(state string) {
		if err := m.send(state); err != nil {
			logger.Warn("Cannot tell the service manager", "state", state, "err", err)
		}
	}, logger)
}

// follow sends the states that notify promises. An interval of 0 is no watchdog.
func follow(ctx context.Context, interval time.Duration, alive func(context.Context) error, send func(string), logger *slog.Logger) {
	send("READY=1")
	defer send("STOPPING=1")
	ticks := time.Tick(interval) // nil for 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		limit, cancel := context.WithTimeout(ctx, interval)
		err := alive(limit)
		cancel()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			logger.Error("This server does not answer itself, so the watchdog is not told that all is well", "err", err)
		default:
			send("WATCHDOG=1")
		}
	}
}

// ping returns nil if the listener at address takes a connection and shakes
// hands, and /healthz of health is 200. No API server is asked for that, and
// nobody is authenticated. Health ends by itself, or there is a reason to worry.
func ping(ctx context.Context, address net.Addr, health http.Handler) error {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // to itself, and nothing is said
	conn, err := dialer.DialContext(ctx, "tcp", address.String())       // 0.0.0.0 and :: are this machine
	if err != nil {
		return err
	}
	conn.Close()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/healthz", nil)
	if err != nil {
		return err
	}
	w := &headOnly{header: http.Header{}, status: http.StatusOK}
	health.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("/healthz is %d", w.status)
	}
	return ctx.Err()
}
