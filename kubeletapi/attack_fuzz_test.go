package kubeletapi

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener hands out connections in memory.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// Whatever bytes come over TLS, in whichever protocol: nothing panics, nobody is
// served what was not allowed exactly as the handler sees it, and the
// connection ends when the client has nothing more to say.
func FuzzServer(f *testing.F) {
	for _, row := range []string{
		"GET /stats JANE\nGET /x ROOT\nGET /metrics ANON\n", "POST /x ROOTTransfer-Encoding: chunked\nTrailer: Authorization\n\n3\nabc\n0\nAuthorization: x\n\n",
		"POST /x ROOTContent-Length: 4\n\nabcdGET /exec ANON\n", "CONNECT /stats/../exec ROOT\n", "GET https://m/stats/%2e%2e/x?a#b JANE\n", "OPTIONS * ANON\n",
		"GET /x ANONUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Protocol: v4, TOKEN\n\n", "GET /stats/..;/%c0%ae JANEExpect: 100-continue\n\n",
	} {
		f.Add([]byte(onTheWire.Replace(row)), false)
	}
	settings := string(http2Frame(frameSettings, 0, 0, nil))
	for _, row := range []string{
		":method GET|:scheme https|:authority n|:path /stats|authorization Bearer token-of-jane", ":method CONNECT|:authority n|authorization Bearer token-of-root",
		":method POST|:scheme https|:authority n|:path /x|authorization Bearer token-of-root +a b", ":method GET|:scheme https|:authority n|:path https:/stats//..",
	} {
		f.Add([]byte(settings+string(http2Headers(row, 1))+string(http2Headers(row, 3))), true)
	}
	f.Fuzz(func(t *testing.T, sent []byte, http2 bool) {
		synctest.Test(t, func(t *testing.T) { checkBytes(t, sent, http2) })
	})
}

func checkBytes(t *testing.T, sent []byte, http2 bool) {
	server, err := newKeep(t).server.httpServer()
	if err != nil {
		t.Fatal(err)
	}
	listener, served := make(pipeListener), make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	protocol := "http/1.1"
	if http2 {
		protocol, sent = "h2", append([]byte(http2Preface), sent...)
	}
	client, conn := net.Pipe()
	listener <- conn
	c := tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(24 * time.Hour))
	go func() {
		c.Write(sent) // the server may close the connection before the end
		synctest.Wait()
		c.CloseWrite()
	}()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection does not end")
	}
	c.Close()
	close(listener)
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
