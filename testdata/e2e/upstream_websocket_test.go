package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"kubeletauth/testdata/e2e/internal/harness"
)

// wsEcho is an upstream that echoes messages. It agrees to the protocol chat, and closes with code 4001 when it is told
// to.
type wsEcho struct {
	seen   chan *http.Request
	closed chan error // why each connection ended
}

func (e *wsEcho) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.seen <- r
	upgrader := websocket.Upgrader{
		Subprotocols: []string{"chat"}, EnableCompression: true,
		CheckOrigin: func(*http.Request) bool { return true }, // the origin is our server, and the Host is the upstream
	}
	conn, err := upgrader.Upgrade(w, r, http.Header{"X-Upstream": {"echo"}})
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			e.closed <- err
			return
		}
		if string(message) == "close" {
			conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4001, "as told"), time.Now().Add(time.Minute))
			continue
		}
		if err := conn.WriteMessage(kind, message); err != nil {
			e.closed <- err
			return
		}
	}
}

// TestUpstreamWebSocket shows WebSockets behind our server, with the token in the header and, as browsers can do it only,
// among the protocols.
func TestUpstreamWebSocket(t *testing.T) {
	echo := &wsEcho{seen: make(chan *http.Request, 10), closed: make(chan error, 10)}
	s := startUpstream(t, theCluster(t), upstreamService(t, echo), harness.Nodes("get", "proxy"))
	protocol := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(s.token))
	for name, way := range map[string]struct {
		token     string
		protocols []string
	}{
		"token in the header":       {s.token, []string{"chat"}},
		"token among the protocols": {"", []string{protocol, "chat"}},
		"token in both":             {s.token, []string{"other", protocol, "chat"}},
	} {
		t.Run(name, func(t *testing.T) { wsTalk(t, s, echo, way.token, way.protocols...) })
	}
	t.Run("the client goes away", func(t *testing.T) {
		conn, _, err := wsDial(s, s.token)
		if err != nil {
			t.Fatal(err)
		}
		upstreamTake(t, echo.seen)
		conn.NetConn().Close()
		upstreamTake(t, echo.closed)
	})
	t.Run("refused", func(t *testing.T) { wsRefused(t, s, echo, protocol) })
	t.Run("the server ends", func(t *testing.T) { wsShutdown(t, s, echo) })
}

// wsDial opens a WebSocket through our server.
func wsDial(s *upstreamServer, token string, protocols ...string) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{
		TLSClientConfig: &tls.Config{RootCAs: s.cluster.CA.Pool()}, Subprotocols: protocols, HandshakeTimeout: time.Minute, EnableCompression: true,
	}
	header := http.Header{"X-Remote-User": {"admin"}, "Impersonate-User": {"admin"}, "Origin": {s.URL}}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return dialer.Dial("wss"+strings.TrimPrefix(s.URL, "https")+"/echo?a=b", header)
}

// wsTalk sends messages of both kinds, a ping, and has the upstream close.
func wsTalk(t *testing.T, s *upstreamServer, echo *wsEcho, token string, protocols ...string) {
	conn, response, err := wsDial(s, token, protocols...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	wsExpectSeen(t, s, upstreamTake(t, echo.seen), protocols)
	if response.Header.Get("X-Upstream") != "echo" || conn.Subprotocol() != "chat" {
		t.Errorf("the upstream answered %v", response.Header)
	}
	pong := ""
	conn.SetPongHandler(func(data string) error { pong = data; return nil })
	conn.WriteControl(websocket.PingMessage, []byte("ping"), time.Now().Add(time.Minute))
	for _, size := range []int{0, 1, 125, 126, 65536, 2 << 20} {
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			sent := bytes.Repeat([]byte("x"), size)
			if err := conn.WriteMessage(kind, sent); err != nil {
				t.Fatal(err)
			}
			if gotKind, got, err := conn.ReadMessage(); err != nil || gotKind != kind || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes: kind %d, %d bytes, %v", size, gotKind, len(got), err)
			}
		}
	}
	if pong != "ping" {
		t.Errorf("the pong is %q", pong)
	}
	conn.WriteMessage(websocket.TextMessage, []byte("close"))
	_, _, err = conn.ReadMessage()
	if closed := (*websocket.CloseError)(nil); !errors.As(err, &closed) || closed.Code != 4001 || closed.Text != "as told" {
		t.Errorf("the connection ended with %v", err)
	}
	if err := upstreamTake(t, echo.closed); !websocket.IsCloseError(err, 4001) {
		t.Errorf("the upstream's ended with %v", err)
	}
}

// wsExpectSeen wants that the upstream saw the protocols but for tokens, and no credential.
func wsExpectSeen(t *testing.T, s *upstreamServer, r *http.Request, protocols []string) {
	t.Helper()
	var want []string
	for _, protocol := range protocols {
		if !strings.HasPrefix(protocol, "base64url.") {
			want = append(want, protocol)
		}
	}
	if got := websocket.Subprotocols(r); fmt.Sprint(got) != fmt.Sprint(want) || r.RequestURI != "/echo?a=b" || r.Header.Get("Origin") != s.URL {
		t.Errorf("the upstream saw the protocols %q at %s: %v", got, r.RequestURI, r.Header)
	}
	if upstreamHasToken(fmt.Sprint(r.Header, r.URL), s.token) {
		t.Error("the upstream saw the token")
	}
	for _, name := range []string{"Authorization", "X-Remote-User", "Impersonate-User"} {
		if r.Header[name] != nil {
			t.Errorf("the upstream saw %s: %q", name, r.Header[name])
		}
	}
}

// wsRefused shows that no WebSocket opens for a client that is refused, and the upstream does not hear of it.
func wsRefused(t *testing.T, s *upstreamServer, echo *wsEcho, protocol string) {
	forged := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(pageForge(s.token)))
	stranger := s.cluster.RequestToken(t, s.cluster.CreateServiceAccount(t, "upstream-out"), 0)
	for name, test := range map[string]struct {
		token     string
		protocols []string
		status    int
	}{
		"no token":                        {"", []string{"chat"}, 401},
		"a forged token":                  {"", []string{forged, "chat"}, 401},
		"a token and no other protocol":   {"", []string{protocol}, 401}, // the one to agree on
		"two tokens among the protocols":  {"", []string{protocol, protocol, "chat"}, 401},
		"a token of someone else":         {stranger, []string{"chat"}, 403},
		"a token that is not well formed": {"", []string{"base64url.bearer.authorization.k8s.io.=", "chat"}, 401},
	} {
		_, response, err := wsDial(s, test.token, test.protocols...)
		if err == nil || response == nil || response.StatusCode != test.status {
			t.Errorf("%s: %v, %v, want %d", name, err, response, test.status)
		}
	}
	if len(echo.seen) > 0 {
		t.Errorf("the upstream saw %v", (upstreamTake(t, echo.seen)).Header)
	}
}

// wsShutdown shows that a tunnel lives on when the server is told to end, that there is no new one, and that the server
// ends when the tunnel does.
func wsShutdown(t *testing.T, s *upstreamServer, echo *wsEcho) {
	conn, _, err := wsDial(s, s.token)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	upstreamTake(t, echo.seen)
	if err := s.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	pageWithin(t, 15*time.Second, "a new connection is refused", func() bool {
		other, _, err := wsDial(s, s.token)
		if err == nil {
			other.Close()
			upstreamTake(t, echo.seen)
			upstreamTake(t, echo.closed)
		}
		return err != nil
	})
	if err := conn.WriteMessage(websocket.TextMessage, []byte("still there")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.ReadMessage(); err != nil || string(got) != "still there" {
		t.Fatalf("%q, %v", got, err)
	}
	conn.Close()
	upstreamTake(t, s.Done())
	if err := s.Err(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	upstreamTake(t, echo.closed)
}
