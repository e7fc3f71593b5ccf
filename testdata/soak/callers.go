package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

// caller is one kind of them. Its answers are those of want, or those of excused
// while that which it needs is out of order.
type caller struct {
	name          string
	want, excused []int // 0 is no answer
	needs         func(t *town) *trouble
	call          func(t *town, c *http.Client) (int, error)
	pace          time.Duration
}

func api(t *town) *trouble { return &t.apiDown }

func up(t *town) *trouble { return &t.upDown }

func callers() []caller {
	return []caller{
		{"hot token", []int{200}, nil, nil, get("/metrics", token("hot")), 2 * time.Millisecond},
		{"hot token, new connections", []int{200}, nil, nil, once(get("/metrics", token("hot"))), 50 * time.Millisecond},
		{"certificate", []int{200}, nil, nil, get("/metrics", nil), 2 * time.Millisecond},
		{"certificate, new connections", []int{200}, nil, nil, once(get("/metrics", nil)), 50 * time.Millisecond},
		{"cold token", []int{200}, []int{200, 401, 429, 500}, api, cold, 5 * time.Millisecond},
		{"denied", []int{403}, []int{403, 500}, api, get("/metrics", token("denied")), 5 * time.Millisecond},
		{"anonymous", []int{403}, []int{403, 429, 500}, api, get("/metrics", nil), 20 * time.Millisecond},
		{"garbage", []int{401, 429}, nil, nil, garbage, 5 * time.Millisecond},
		{"stream", []int{200}, []int{200, 502, 0}, up, stream, 20 * time.Millisecond},
		{"upgrade", []int{101}, []int{101, 502, 0}, up, upgrade, 20 * time.Millisecond},
		{"half a header", []int{0}, nil, nil, halfHeader, 100 * time.Millisecond},
	}
}

// load runs a caller of each kind over each protocol until ctx ends.
func (t *town) load(ctx context.Context) (wait func()) {
	certificate, err := t.ca.Issue(apiservertest.Certificate{CommonName: "jane"})
	must(err)
	done := make(chan bool)
	n := 0
	for i, c := range callers() {
		for _, http2 := range []bool{false, true} {
			client := t.client(i, http2)
			if c.name == "certificate" || c.name == "certificate, new connections" {
				t.present(client, certificate)
			}
			n++
			go func() {
				defer func() { client.CloseIdleConnections(); done <- true }()
				for ctx.Err() == nil {
					t.pause.RLock()
					t.once(c, client)
					t.pause.RUnlock()
					time.Sleep(c.pace)
				}
			}()
		}
	}
	return func() {
		for range n {
			<-done
		}
	}
}

// client comes from an address of its own, where that is possible.
func (t *town) client(i int, http2 bool) *http.Client {
	dialer := &net.Dialer{}
	if runtime.GOOS == "linux" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: t.ca.Pool()}, ForceAttemptHTTP2: http2}}
}

func (t *town) present(client *http.Client, certificate tls.Certificate) {
	client.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
}

func (t *town) once(c caller, client *http.Client) {
	start := time.Now()
	code, err := c.call(t, client)
	allowed := c.want
	if c.needs != nil && c.needs(t).since(start) {
		allowed = c.excused
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts[c.name] == nil {
		t.counts[c.name] = map[string]int{}
	}
	t.counts[c.name][strconv.Itoa(code)]++
	t.slowest[c.name] = max(t.slowest[c.name], time.Since(start))
	if !slices.Contains(allowed, code) {
		t.violateLocked(fmt.Sprintf("%s: %d after %v, %.200v", c.name, code, time.Since(start).Round(100*time.Millisecond), err))
	}
}

func token(of string) func(*town) string { return func(*town) string { return of } }

// get returns the status of an answer that is whole.
func get(path string, token func(*town) string) func(*town, *http.Client) (int, error) {
	return func(t *town, client *http.Client) (int, error) {
		request, err := http.NewRequest("GET", "https://"+t.address+path, nil)
		must(err)
		if token != nil {
			request.Header.Set("Authorization", "Bearer "+token(t))
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || path == "/up/stream" && response.StatusCode == 200 && len(body) != chunks*len("chunk\n") {
			return 0, fmt.Errorf("an answer that is not whole: %w", err)
		}
		return response.StatusCode, nil
	}
}

func once(call func(*town, *http.Client) (int, error)) func(*town, *http.Client) (int, error) {
	return func(t *town, client *http.Client) (int, error) {
		defer client.CloseIdleConnections()
		return call(t, client)
	}
}

func stream(t *town, client *http.Client) (int, error) {
	return get("/up/stream", token("hot"))(t, client)
}

// cold is a token, and a user, that were never seen before.
func cold(t *town, client *http.Client) (int, error) {
	name := fmt.Sprint("cold-", t.number.Add(1))
	t.api.SetToken(name, authn.UserInfo{Username: name, Groups: []string{"cold"}})
	defer t.api.RevokeToken(name)
	return get("/metrics", token(name))(t, client)
}

func garbage(t *town, client *http.Client) (int, error) {
	return get("/metrics", token(fmt.Sprint("garbage-", t.number.Add(1))))(t, client)
}

func (t *town) dial(client *http.Client) (*tls.Conn, error) {
	raw, err := client.Transport.(*http.Transport).DialContext(context.Background(), "tcp", t.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: t.ca.Pool(), ServerName: "127.0.0.1"})
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn, nil
}

// upgrade sees whether what it sends comes back.
func upgrade(t *town, client *http.Client) (int, error) {
	conn, err := t.dial(client)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /up/tunnel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hot\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		if err == nil {
			return response.StatusCode, nil
		}
		return 0, err
	}
	for range 5 {
		io.WriteString(conn, "ping")
		echo := make([]byte, 4)
		if _, err := io.ReadFull(reader, echo); err != nil || string(echo) != "ping" {
			return 0, fmt.Errorf("echo %q: %w", echo, err)
		}
	}
	return response.StatusCode, nil
}

// halfHeader never ends, and so gets no answer, and the end of its connection.
func halfHeader(t *town, client *http.Client) (int, error) {
	conn, err := t.dial(client)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hot\r\n")
	content, err := io.ReadAll(conn)
	var timeout net.Error
	if len(content) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		return -1, fmt.Errorf("%q, %w", content, err)
	}
	return 0, nil
}
