package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"kubeletauth/testdata/e2e/internal/harness"
)

// connection is one TLS connection.
type connection struct {
	net.Conn
	read *bufio.Reader
}

// ask sends a request and classifies the answer. A connection that the server closed is tried again: it may have been
// closed for its age, or before the whole of a malformed request was written.
func (e *endpoint) ask(ctx context.Context, r request) (outcome, error) {
	const attempts = 20
	for attempt := 1; ; attempt++ {
		conn, err := e.connect(ctx, r.certificate.pair)
		if err != nil {
			return outcome{}, err
		}
		answer, err := conn.exchange(r)
		if err == nil && !answer.last {
			e.keep(r.certificate.pair, conn)
		} else {
			conn.Close()
		}
		if err == nil {
			return e.classify(r, answer), nil
		}
		if attempt == attempts || !isClosed(err) {
			return outcome{}, err
		}
	}
}

// isClosed says whether the other side closed the connection.
func isClosed(err error) bool {
	var failed *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &failed) && !failed.Timeout()
}

// connect takes an idle connection or opens one. The certificate is sent whatever authorities the server hints at.
func (e *endpoint) connect(ctx context.Context, certificate *harness.Pair) (*connection, error) {
	e.mu.Lock()
	if idle := e.idle[certificate]; len(idle) > 0 {
		conn := idle[len(idle)-1]
		e.idle[certificate] = idle[:len(idle)-1]
		e.mu.Unlock()
		return conn, nil
	}
	e.mu.Unlock()
	config := e.roots.Clone()
	config.NextProtos = []string{"http/1.1"}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &certificate.Certificate, nil
		}
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", e.address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, read: bufio.NewReader(conn)}, nil
}

// keep puts a connection back.
func (e *endpoint) keep(certificate *harness.Pair, conn *connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle[certificate] = append(e.idle[certificate], conn)
}

// close closes all idle connections.
func (e *endpoint) close() {
	for _, idle := range e.idle {
		for _, conn := range idle {
			conn.Close()
		}
	}
}

// answer is what came back, with the beginning of the body.
type answer struct {
	status   int
	location string
	body     string
	last     bool // on this connection
}

// exchange writes the request as it stands and reads the answer, also if it came before all was written.
func (conn *connection) exchange(r request) (answer, error) {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, unwritten := io.WriteString(conn, r.raw())
	asked := &http.Request{Method: http.MethodGet}
	if r.method == http.MethodHead {
		asked.Method = http.MethodHead
	}
	response, err := http.ReadResponse(conn.read, asked)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	const enough = 4 << 10
	return answer{
		status:   response.StatusCode,
		location: response.Header.Get("Location"),
		body:     string(body[:min(len(body), enough)]),
		last:     response.Close || unwritten != nil || response.StatusCode == http.StatusSwitchingProtocols,
	}, nil
}
