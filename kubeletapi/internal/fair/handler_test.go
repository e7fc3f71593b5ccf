package fair

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"
	"weak"
)

// openHTTP2 returns a connection on which requests by POST were sent, each with
// such further headers and a body that has not begun. It is closed with the test.
func openHTTP2(t *testing.T, handler http.Handler, requests ...string) net.Conn {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	sent := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, "")...)
	for i, headers := range requests {
		sent = append(sent, frame(1, 4, uint32(2*i+1), "\x83\x86\x84\x41\x01n"+headers)...)
	}
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	return conn
}

// frame encodes one of RFC 9113, section 4.1.
func frame(kind, flags byte, stream uint32, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return append(b, payload...)
}

// header encodes one whose name and value are short (RFC 7541, section 6.2.2).
func header(name, value string) string {
	return "\x00" + string(rune(len(name))) + name + string(rune(len(value))) + value
}

// Over HTTP/2 a body has its time whatever length it is said to have.
func TestBodyTimeoutWhateverTheLength(t *testing.T) {
	const limit = 50 * time.Millisecond
	for name, length := range map[string]string{
		"none":         "",
		"five":         header("content-length", "5"),
		"zero":         header("content-length", "0"),
		"not a length": header("content-length", "x"),
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			openHTTP2(t, &Handler{BodyTimeout: limit, ConnectionOf: func(context.Context) *Connection { return nil }, Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				read <- err
			})}, length)
			select {
			case err := <-read:
				if err == nil {
					t.Error("the body has ended")
				}
			case <-time.After(10 * time.Second):
				t.Error("the handler still waits for the body")
			}
		})
	}
}

// Of a stream that is reset before its body gets its time, nothing stays in memory
// until that time is up.
func TestResetStreamLeavesNoTimer(t *testing.T) {
	const streams = 50
	var of []weak.Pointer[string]
	served := make(chan weak.Pointer[string])
	h := &Handler{BodyTimeout: time.Hour, ConnectionOf: func(context.Context) *Connection { return nil }, Next: http.NotFoundHandler()}
	requests := make([]string, streams)
	for i := range requests {
		requests[i] = header("trailer", "X")
	}
	conn := openHTTP2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		value := []string{"what the stream keeps"}
		r.Trailer["X"] = value
		h.ServeHTTP(w, r)
		served <- weak.Make(&value[0])
	}), requests...)
	for i := range streams {
		conn.Write(frame(3, 0, uint32(2*i+1), "\x00\x00\x00\x08"))
	}
	for range streams {
		of = append(of, <-served)
	}
	kept := 0
	for range 100 { // until the last handlers have returned
		time.Sleep(10 * time.Millisecond)
		runtime.GC()
		kept = 0
		for _, p := range of {
			if p.Value() != nil {
				kept++
			}
		}
		if kept <= streams/10 { // some are in pools of net/http
			return
		}
	}
	t.Errorf("%d of %d streams are kept", kept, streams)
}

// A handler that was told of the end of its stream itself leaves no request under way.
func TestNotifiedHandlerLeavesNoRequest(t *testing.T) {
	l := &Listener{}
	c := &Connection{from: l, host: "a"}
	l.add(c)
	served := make(chan struct{})
	h := &Handler{ConnectionOf: func(context.Context) *Connection { return c }, Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-w.(http.CloseNotifier).CloseNotify() //lint:ignore SA1019 as older handlers do
	})}
	conn := openHTTP2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		close(served)
	}), "")
	conn.Write(frame(3, 0, 1, "\x00\x00\x00\x08"))
	<-served
	for range 100 {
		l.mu.Lock()
		n := l.requests
		l.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it is under way for ever")
}
