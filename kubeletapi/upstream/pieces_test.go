package upstream

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An answer of known length comes as it comes from the upstream, but for its
// header, which waits a little for the body.
func TestKnownLength(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		for _, tt := range []struct{ header, first, rest, wantHeader, wantFirst time.Duration }{
			{0, time.Hour, time.Hour, soon, time.Hour},
			{0, 10 * time.Millisecond, time.Hour, 10 * time.Millisecond, 10 * time.Millisecond},
			{0, 0, time.Hour, 0, 0},
			{10 * time.Second, time.Hour, time.Hour, 10 * time.Second, time.Hour + 10*time.Second},
		} {
			inBubble(t, proto, Config{}, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(tt.header)
				w.Header().Set("Content-Length", "12")
				for _, wait := range []time.Duration{tt.first, tt.rest} {
					http.NewResponseController(w).Flush()
					time.Sleep(wait)
					io.WriteString(w, "piece\n")
				}
			}, func(t *testing.T, client *http.Client, _ *pipes) {
				for range 2 { // the second exchange is as the first
					begin := time.Now()
					res, err := client.Get("http://n1/x")
					if err != nil {
						t.Fatal(err)
					}
					header := time.Since(begin)
					io.ReadFull(res.Body, make([]byte, 6))
					first := time.Since(begin)
					rest, err := io.ReadAll(res.Body)
					if string(rest) != "piece\n" || err != nil || header != tt.wantHeader || first != tt.wantFirst {
						t.Errorf("%+v: header after %v, a piece after %v, then %q, %v", tt, header, first, rest, err)
					}
				}
			})
		}
	})
}

// All of an answer of known length comes, even if its end is late.
func TestLateEnd(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		for _, tt := range []struct{ before, want time.Duration }{{0, soon}, {soon / 2, soon}, {time.Hour, time.Hour}} {
			inBubble(t, proto, Config{}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "6")
				http.NewResponseController(w).Flush()
				time.Sleep(tt.before)
				io.WriteString(w, "piece\n")
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}, func(t *testing.T, client *http.Client, _ *pipes) {
				begin := time.Now()
				res, err := client.Get("http://n1/x")
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				piece := make([]byte, 6)
				if _, err := io.ReadFull(res.Body, piece); string(piece) != "piece\n" || err != nil || time.Since(begin) > tt.want {
					t.Errorf("after %v: %q, %v after %v", tt.before, piece, err, time.Since(begin))
				}
			})
		}
	})
}

// A small answer of known length is one piece for the client too.
func TestOnePiece(t *testing.T) {
	inBubble(t, "HTTP/1.1", Config{}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "small")
	}, func(t *testing.T, _ *http.Client, front *pipes) {
		conn, err := front.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 3 {
			go io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: n1\r\n\r\n")
			piece := make([]byte, 1024)
			if n, err := conn.Read(piece); !strings.HasSuffix(string(piece[:n]), "\r\n\r\nsmall") {
				t.Errorf("%q, %v", piece[:n], err)
			}
		}
	})
}

// Short limits of the server in front end no exchange in which something flows,
// whatever time those between had.
func TestShortLimits(t *testing.T) {
	after := func(d time.Duration, s *http.Server) {
		next := s.Handler
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { time.Sleep(d); next.ServeHTTP(w, r) })
	}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for name, limits := range map[string]func(*http.Server){
			"read":           func(s *http.Server) { s.ReadTimeout = soon / 10 },
			"write":          func(s *http.Server) { s.WriteTimeout = soon / 10 },
			"both":           func(s *http.Server) { s.ReadTimeout, s.WriteTimeout = 11*soon, 11*soon },
			"little is left": func(s *http.Server) { s.ReadTimeout, s.WriteTimeout = 31*soon, 31*soon; after(30*soon+soon/2, s) },
		} {
			inBubble(t, proto, Config{}, func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).EnableFullDuplex()
				for i := range 20 {
					piece := make([]byte, 6)
					if n, err := io.ReadFull(r.Body, piece); err != nil {
						t.Errorf("%s, %s: %d bytes of a piece, %v", proto, name, n, err)
						return
					}
					fmt.Fprintln(w, "event", i)
					http.NewResponseController(w).Flush()
				}
			}, func(t *testing.T, client *http.Client, _ *pipes) {
				body, sender := io.Pipe()
				go func() {
					for range 20 {
						time.Sleep(soon)
						io.WriteString(sender, "piece\n")
					}
					sender.Close()
				}()
				res, err := client.Post("http://n1/watch", "", body)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(res.Body)
				if n := strings.Count(string(answer), "event"); n != 20 || err != nil {
					t.Errorf("%s, %s: %d events, %v", proto, name, n, err)
				}
			}, limits)
		}
	}
}

// The header of an answer is something that flows.
func TestLateHeader(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		inBubble(t, proto, Config{Timeout: 30 * time.Second, IdleTimeout: 40 * time.Second}, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(29 * time.Second)
			http.NewResponseController(w).Flush()
			time.Sleep(39 * time.Second)
			io.WriteString(w, "late")
		}, func(t *testing.T, client *http.Client, _ *pipes) {
			res, err := client.Get("http://n1/x")
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); string(body) != "late" || err != nil {
				t.Errorf("%q, %v", body, err)
			}
		})
	})
}

// A silent exchange is cut after its time, whatever the one before did.
func TestSilentAfterOther(t *testing.T) {
	eachVersion(t, func(t *testing.T, proto string) {
		for _, before := range []time.Duration{0, soon / 2, soon * 3, 3 * time.Hour} {
			inBubble(t, proto, Config{Timeout: -1}, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/before" {
					time.Sleep(before)
					return
				}
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}, func(t *testing.T, client *http.Client, _ *pipes) {
				res, err := client.Get("http://n1/before")
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				begin := time.Now()
				if res, err = client.Get("http://n1/silent"); err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if d := time.Since(begin); err == nil || d != 4*time.Hour {
					t.Errorf("before it %v: %q, %v after %v", before, body, err, d)
				}
			})
		}
	})
}
