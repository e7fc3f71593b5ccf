package kubeletapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/upstream"
)

// stopper is a server that is stopped under load.
type stopper struct {
	*world
	server   *kubeletapi.Server
	upstream *httptest.Server
	proxy    *upstream.Proxy
	arrived  sync.Map      // the queries of requests that came through the filter, and of those that had a whole answer
	release  chan struct{} // closed, it lets streams and reviews end
	held     atomic.Int32  // that are under way until then
}

func newStopper(t *testing.T, w *world, drain time.Duration) *stopper {
	s := &stopper{world: w, release: make(chan struct{})}
	s.upstream = httptest.NewServer(http.HandlerFunc(echo))
	var err error
	if s.proxy, err = upstream.New(upstream.Config{URL: s.upstream.URL, Logger: w.cfg.Logger}); err != nil {
		t.Fatal(err)
	}
	if s.auth, err = kubeletapi.New(w.cfg); err != nil {
		t.Fatal(err)
	}
	s.server = &kubeletapi.Server{Config: w.cfg, Auth: s.auth, DrainTimeout: drain, Handler: upstream.Route([]string{"/tunnel"}, s.proxy, s)}
	s.serve(s.server)
	return s
}

// echo switches protocols, and sends back what comes.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err == nil {
		io.Copy(conn, buffered)
		conn.Close()
	}
}

func (s *stopper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.arrived.Store(r.URL.RawQuery, nil)
	if r.URL.Path == "/stream" {
		http.NewResponseController(w).Flush()
		s.held.Add(1)
		select {
		case <-s.release:
		case <-r.Context().Done():
		}
	}
	io.WriteString(w, "whole")
}

// ask sends a request and returns the status, if the answer is whole.
func (s *stopper) ask(client *http.Client, path, query, token string) (int, error) {
	request, err := http.NewRequest("GET", s.url+path+"?"+query, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && string(body) == "whole" {
		s.arrived.Delete(query)
	}
	return response.StatusCode, err
}

// load keeps everyone busy until the server is gone. Of what is held until
// release, it passes on how it ended.
func (s *stopper) load(group *sync.WaitGroup, ended chan<- error) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for i := range 3 { // short requests, one after the other
			client := s.client(proto, nil)
			group.Go(func() {
				defer client.CloseIdleConnections()
				for n := 0; ; n++ {
					if _, err := s.ask(client, "/short", fmt.Sprint(proto, i, ":", n), goodToken); err != nil {
						return
					}
				}
			})
		}
		for kind, token := range map[string]string{"/stream": goodToken, "/review": "good-" + proto} {
			client := s.client(proto, nil)
			group.Go(func() {
				defer client.CloseIdleConnections()
				code, err := s.ask(client, kind, proto+kind, token)
				if err == nil && code != 200 {
					err = fmt.Errorf("%s%s: %d", proto, kind, code)
				}
				ended <- err
			})
		}
	}
	group.Go(func() { ended <- s.tunnel() })
}

// tunnel sees whether what it sends after the release still comes back.
func (s *stopper) tunnel() error {
	conn := s.dial()
	defer conn.Close()
	fmt.Fprintf(conn, "GET /tunnel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", goodToken)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("tunnel: %v, %w", response, err)
	}
	s.held.Add(1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, err = io.ReadFull(reader, make([]byte, 4))
	}()
	select {
	case <-s.release:
		io.WriteString(conn, "ping")
	case <-over:
		return errors.Join(errors.New("tunnel cut"), err)
	}
	<-over
	return err
}

// A server is stopped a hundred times. What it has accepted gets a whole answer
// if that comes before the deadline, and is cut if it does not; and nothing of
// the server is left.
func TestStopUnderLoad(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	w := newWorld(t)
	w.api.AllowUser("jane", "get", "*")
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		w.api.SetToken("good-"+proto, authn.UserInfo{Username: "jane"})
	}
	stopOnce(t, w, true) // which makes what is made once
	before := left()
	for i := range rounds {
		stopOnce(t, w, i%2 == 0)
		if t.Failed() {
			t.Fatal("round", i)
		}
	}
	after := left()
	for end := time.Now().Add(10 * time.Second); after != before && time.Now().Before(end); after = left() {
		time.Sleep(10 * time.Millisecond)
	}
	if after.goroutines > before.goroutines || after.files > before.files || after.children > before.children {
		stacks := make([]byte, 1<<16)
		t.Errorf("left %+v, at first %+v\n%s", after, before, stacks[:runtime.Stack(stacks, true)])
	}
}

func stopOnce(t *testing.T, w *world, inTime bool) {
	drain := 20 * time.Second
	if !inTime {
		drain = 50 * time.Millisecond
	}
	s := newStopper(t, w, drain)
	defer s.upstream.Close()
	if code, err := s.ask(s.client("HTTP/1.1", nil), "/short", "first", goodToken); code != 200 || err != nil {
		t.Fatal(code, err)
	}
	w.api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Hang: s.release})
	defer w.api.Inject(apiservertest.TokenReviews)
	var group sync.WaitGroup
	ended := make(chan error, 5)
	s.load(&group, ended)
	for end := time.Now().Add(20 * time.Second); s.held.Load() < 3 || !s.reviewing(2); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the load does not come to be")
		}
	}
	start := time.Now()
	var tunnels sync.WaitGroup
	tunnels.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		s.proxy.Shutdown(ctx)
	})
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	if inTime {
		time.Sleep(5 * time.Millisecond)
		close(s.release)
	}
	check(t, <-stopped)
	tunnels.Wait()
	if took := time.Since(start); !inTime && took < drain {
		t.Errorf("stopped after %v, and should have waited", took)
	}
	closed := time.Now()
	s.auth.Close()
	if took := time.Since(closed); took > 5*time.Second {
		t.Errorf("Close waited %v for reviews that nobody waits for", took)
	}
	group.Wait()
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.url, "https://")); err == nil {
		t.Error("it still takes connections")
	}
	for range cap(ended) {
		if err := <-ended; (err == nil) != inTime {
			t.Errorf("in time: %v, and a request that was held ended with %v", inTime, err)
		}
	}
	if !inTime {
		close(s.release)
		return
	}
	s.arrived.Range(func(query, _ any) bool {
		t.Errorf("no whole answer to %v", query)
		return true
	})
}

func (s *stopper) reviewing(n int) bool {
	now, _ := s.api.InFlight()
	return now >= n
}

// remains are what a stopped server may not leave behind.
type remains struct{ goroutines, files, children int }

func left() remains {
	http.DefaultClient.CloseIdleConnections()
	files, _ := os.ReadDir("/proc/self/fd") // none where there is no such folder
	children, _ := os.ReadFile("/proc/thread-self/children")
	return remains{runtime.NumGoroutine(), len(files), len(strings.Fields(string(children)))}
}

// A listener that fails leaves no connection open.
func TestServeFails(t *testing.T) {
	w := newWorld(t)
	auth, err := kubeletapi.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		failed <- (&kubeletapi.Server{Config: w.cfg, Auth: auth}).Serve(t.Context(), listener)
	}()
	w.url = "https://" + listener.Addr().String()
	w.want(401, w.client("HTTP/1.1", nil), "/", "")
	conn := w.dial()
	defer conn.Close()
	listener.Close()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}
