package kubeclient

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Whatever repeats our request in an answer that net/http cannot read, neither our
// token nor the one under review is in the error.
func TestEchoedSecretsAreHidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, answer := range []string{ // with a request in place of %s
		"%s\r\n\r\n",
		"HTTP/1.1 %s no\r\n\r\n",
		"HTTP/%s 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"HTTP/1.1 200 OK\r\n%s x: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3\r\n{  \r\n0\r\n%s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
		"HTTP/1.1 500 %s\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 500 OK\r\nContent-Type: text/plain\r\n\r\n%s",
		"HTTP/1.1 100 %s\r\n\r\nHTTP/1.1 %s\r\n\r\n",
		"HTTP/1.1 101 %s\r\nUpgrade: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n%s",
		"HTTP/1.1 302 OK\r\nLocation: /%s\r\nContent-Length: 0\r\n\r\n",
	} {
		for name, ask := range map[string]func(*Client) error{
			"review":  func(c *Client) error { _, err := reviewToken(c); return err },
			"version": func(c *Client) error { _, _, err := c.Version(t.Context()); return err },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c, end := w.echo(answer)
				defer end()
				if err := ask(c); err == nil || strings.Contains(err.Error(), ourToken) || strings.Contains(err.Error(), theirToken) {
					t.Errorf("%q: %v", answer, err)
				}
			})
		}
	}
}

// echo returns a client of a server that answers once, with what it was sent.
func (w *world) echo(answer string) (c *Client, end func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := tls.NewListener(listener, &tls.Config{Certificates: w.serving.Load().Certificates, NextProtos: []string{"http/1.1"}}).Accept()
		if err != nil {
			return
		}
		listener.Close() // a retry would wait there
		defer conn.Close()
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		io.WriteString(conn, strings.ReplaceAll(answer, "%s", r.Header.Get("Authorization")+" "+string(body)))
	}()
	path := w.write(listener.Addr().String(), kubeconfigText("https://"+listener.Addr().String(), "token: "+ourToken, `"certificate-authority-data": "`+b64(w.ca.cert)+`"`))
	c, err = New(w.config(path))
	must(w.t, err)
	return c, func() {
		listener.Close()
		<-done
		c.Close()
	}
}

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ text, secret, want string }{
		{"a secret1 b secret1", "secret1", "a [redacted] b [redacted]"},
		{`line "a\"b\\c\td"`, "a\"b\\c\td", `line "[redacted]"`},
		{`{"token":"a\"b\u003c\\c"}`, `a"b<\c`, `{"token":"[redacted]"}`},
		{fmt.Sprintf("%q", `{"token":"a\"b\u003c\\c"}`), `a"b<\c`, `"{\"token\":\"[redacted]\"}"`},
		{"a short word", "short", "a short word"},
		{"", "secret1", ""},
	} {
		if got := redact(tt.text, tt.secret); got != tt.want {
			t.Errorf("%q: %q", tt.text, got)
		}
	}
}
