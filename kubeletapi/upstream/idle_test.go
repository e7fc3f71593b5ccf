package upstream

import (
	"bufio"
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener, and the way to it.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, errors.New("nobody listens")
	}
}

// inBubble runs a test with a client of a proxy to service, all of them in
// memory and with the times that the server of this API has, or as tuned. proto is spoken on
// both sides.
func inBubble(t *testing.T, proto string, cfg Config, service http.HandlerFunc, test func(t *testing.T, client *http.Client, front *pipes), tune ...func(front *http.Server)) {
	t.Helper()
	if proto == "HTTP/2.0" && fips140.Enabled() {
		t.Skip("HTTP/2 draws random numbers, which a bubble cannot in FIPS mode")
	}
	synctest.Test(t, func(t *testing.T) {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(proto == "HTTP/1.1")
		protocols.SetUnencryptedHTTP2(proto == "HTTP/2.0")
		cfg.URL, cfg.Logger = "http://127.0.0.1", slog.New(slog.NewTextHandler(t.Output(), nil))
		if proto == "HTTP/2.0" {
			cfg.Protocol = "h2c"
		}
		proxy, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		front, back := newPipes(), newPipes()
		proxy.connections.Get().plain.DialContext = back.dial
		proxy.connections.Get().tunnel.DialContext = back.dial
		quiet := slog.NewLogLogger(slog.DiscardHandler, 0)
		servers := map[net.Listener]*http.Server{
			front: {Handler: proxy, ReadTimeout: time.Minute, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 4 * time.Hour, IdleTimeout: 90 * time.Second, Protocols: protocols, ErrorLog: quiet},
			back:  {Handler: service, Protocols: protocols, ErrorLog: quiet},
		}
		for _, f := range tune {
			f(servers[front])
		}
		var wait sync.WaitGroup
		for listener, server := range servers {
			wait.Go(func() { server.Serve(listener) })
		}
		transport := &http.Transport{DialContext: front.dial, Protocols: protocols}
		test(t, &http.Client{Transport: transport}, front)
		transport.CloseIdleConnections()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		proxy.Shutdown(ended)
		for _, server := range servers {
			server.Close()
		}
		wait.Wait()
	})
}

func eachVersion(t *testing.T, test func(t *testing.T, proto string)) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) { test(t, proto) })
	}
}

// A stream lives as long as something flows every now and then.
func TestFlowingStreamLives(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		inBubble(t, proto, Config{}, func(w http.ResponseWriter, r *http.Request) {
			for i := range 20 {
				time.Sleep(3 * time.Hour * time.Duration(min(i, 1)))
				fmt.Fprintln(w, "event", i)
				http.NewResponseController(w).Flush()
			}
		}, func(t *testing.T, client *http.Client, _ *pipes) {
			res, err := client.Get("http://n1/watch")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if n := strings.Count(string(body), "event"); n != 20 || err != nil {
				t.Errorf("%d events in %v, %v", n, time.Since(start(res)), err)
			}
		})
	})
}

func start(*http.Response) time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) } // of each bubble

// One in which nothing flows is cut, on both sides.
func TestSilentStreamIsCut(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		gone := time.Duration(0)
		inBubble(t, proto, Config{}, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "event")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			gone = time.Since(start(nil))
		}, func(t *testing.T, client *http.Client, _ *pipes) {
			res, err := client.Get("http://n1/watch")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			synctest.Wait()
			if d := time.Since(start(res)); err == nil || d != 4*time.Hour || gone != d {
				t.Errorf("%q, %v after %v, and %v upstream", body, err, d, gone)
			}
		})
	})
}

// No limit is none.
func TestNoIdleTimeout(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		inBubble(t, proto, Config{IdleTimeout: -1, Timeout: -1}, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(1000 * time.Hour)
			fmt.Fprint(w, "at last")
		}, func(t *testing.T, client *http.Client, _ *pipes) {
			res, err := client.Get("http://n1/slow")
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); string(body) != "at last" || err != nil {
				t.Errorf("%q, %v", body, err)
			}
		})
	})
}

// slowly is a body of n pieces, one every d.
func slowly(n int, d time.Duration) io.Reader {
	r, w := io.Pipe()
	go func() {
		for range n {
			time.Sleep(d)
			io.WriteString(w, "piece\n")
		}
		w.Close()
	}()
	return r
}

// An upload may take as long as it flows; the client gets its answer.
func TestFlowingUploadLives(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		inBubble(t, proto, Config{}, func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		}, func(t *testing.T, client *http.Client, _ *pipes) {
			res, err := client.Post("http://n1/upload", "", slowly(30, time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(res.Body); string(body) != "180 <nil>" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
		})
	})
}

// A client that takes nothing is cut, while the upstream would send more.
func TestStuckDownloadIsCut(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		inBubble(t, proto, Config{}, func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			time.Sleep(time.Second) // the proxy passes the header on by a timer: in a bubble that must not wait for a lock
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					break
				}
			}
			if d := time.Since(start(nil)); d != 4*time.Hour+time.Second {
				t.Errorf("cut after %v", d)
			}
		}, func(t *testing.T, client *http.Client, _ *pipes) {
			res, err := client.Get("http://n1/download")
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Hour)
			res.Body.Close()
		})
	})
}

// The header of an answer has its own limit, which begins when all is sent.
func TestTimeout(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		for _, tt := range []struct {
			timeout, takes time.Duration
			code           int
		}{
			{0, 29 * time.Second, 200}, {0, 31 * time.Second, 504}, {time.Minute, 59 * time.Second, 200}, {time.Minute, 61 * time.Second, 504}, {-1, time.Hour, 200},
		} {
			for _, body := range []func() io.Reader{
				func() io.Reader { return nil },
				func() io.Reader { return strings.NewReader("abc") },
				func() io.Reader { return slowly(2, 50*time.Second) },
			} {
				inBubble(t, proto, Config{Timeout: tt.timeout}, func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					select {
					case <-time.After(tt.takes):
					case <-r.Context().Done():
					}
				}, func(t *testing.T, client *http.Client, _ *pipes) {
					r, _ := http.NewRequest("POST", "http://n1/slow", body())
					res, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					if text, _ := io.ReadAll(res.Body); res.StatusCode != tt.code || tt.code == 504 && string(text) != "Gateway Timeout\n" {
						t.Errorf("limit %v, %v: %d %q", tt.timeout, tt.takes, res.StatusCode, text)
					}
				})
			}
		}
	})
}

// A tunnel lives as long as something flows in either direction, and no longer.
func TestIdleTunnel(t *testing.T) {
	for _, flows := range []string{"up", "down"} {
		ended := make(chan time.Duration, 1)
		inBubble(t, "HTTP/1.1", Config{}, func(w http.ResponseWriter, r *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			if flows == "down" {
				for range 10 {
					time.Sleep(3 * time.Hour)
					io.WriteString(conn, "ping\n")
				}
			}
			io.Copy(io.Discard, rw)
			ended <- time.Since(start(nil))
		}, func(t *testing.T, _ *http.Client, front *pipes) {
			conn, err := front.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go io.WriteString(conn, "GET /exec HTTP/1.1\r\nHost: n1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			r := bufio.NewReader(conn)
			if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
				t.Fatal(res, err)
			}
			if flows == "up" {
				for range 10 {
					time.Sleep(3 * time.Hour)
					io.WriteString(conn, "ping\n")
				}
			}
			io.Copy(io.Discard, r)
			if d, upstream := time.Since(start(nil)), <-ended; d != 34*time.Hour || upstream != d {
				t.Errorf("%s: the tunnel ended after %v, and %v upstream, want 34h", flows, d, upstream)
			}
		})
	}
}

// The last bytes of an answer, which net/http sends, wait for the client no
// longer than its server lets them.
func TestEndThatNobodyTakes(t *testing.T) {
	inBubble(t, "HTTP/1.1", Config{}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "event")
		http.NewResponseController(w).Flush()
	}, func(t *testing.T, _ *http.Client, front *pipes) {
		conn, err := front.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: n1\r\n\r\n")
		got, piece := "", make([]byte, 1024)
		for !strings.Contains(got, "event\n\r\n") {
			n, err := conn.Read(piece)
			if err != nil {
				t.Fatal(err)
			}
			got += string(piece[:n])
		}
		time.Sleep(5 * time.Hour)
		if rest, err := io.ReadAll(conn); len(rest) > 0 {
			t.Errorf("after hours came %q, %v", rest, err)
		}
	})
}
