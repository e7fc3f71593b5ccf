package kubeclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const maxAnswerBytes = 1 << 20

// send makes one request, and another if the first was answered with 401 and
// our credential has changed since.
func (c *Client) send(ctx context.Context, q *question, version string) ([]byte, error) {
	s, cred, err := c.credential(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := c.post(ctx, s, cred, q, version)
	if status, ok := errors.AsType[*StatusError](err); !ok || status.Code != http.StatusUnauthorized {
		return answer, err
	}
	if s.plugin != nil {
		s.plugin.drop(cred)
	}
	s = c.files.reload()
	next, renewErr := s.credential(ctx)
	switch {
	case renewErr != nil:
		return answer, fmt.Errorf("%w; there is no other credential: %w", err, renewErr)
	case *next == *cred:
		return answer, err
	}
	return c.post(ctx, s, next, q, version)
}

// post sends a question and returns the body of a success.
func (c *Client) post(ctx context.Context, s *session, cred *credential, q *question, version string) (answer []byte, err error) {
	body, err := q.body(version)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", q.kind, err)
	}
	code, start := "<error>", time.Now()
	q.held = []string{cred.secret(), s.password, q.secret}
	err = c.do(ctx, cred, http.MethodPost, s.server.JoinPath("apis", q.group, version, q.resource), body, func(resp *http.Response) error {
		code = strconv.Itoa(resp.StatusCode)
		answer, err = readAnswer(resp, q.held...)
		return err
	})
	if c.config.Observe != nil {
		c.config.Observe(q.resource, code, time.Since(start))
	}
	return answer, hide(err, q.held...)
}

// do makes one request and has its answer read. It knows no redirects.
func (c *Client) do(ctx context.Context, cred *credential, method string, to *url.URL, body []byte, read func(*http.Response) error) (err error) {
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.config.UserAgent)
	if cred.authorization != "" {
		req.Header.Set("Authorization", cred.authorization)
	}
	start := time.Now()
	transport, done := cred.use()
	defer func() {
		done(err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(start) >= c.config.Timeout/2)
		if c.closed.Load() {
			cred.retire()
		}
	}()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return unreachable(method, to, err)
	}
	defer resp.Body.Close()
	return read(resp)
}

// unreachable adds what to do about an API server that there is no connection
// to.
func unreachable(method string, to *url.URL, err error) error {
	failure := &url.Error{Op: method[:1] + strings.ToLower(method[1:]), URL: to.String(), Err: err}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return fmt.Errorf("%w (is certificate-authority in the kubeconfig the one of this server, and server a name it has?)", failure)
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return fmt.Errorf("%w (is the API server up, and is server in the kubeconfig its address?)", failure)
	}
	return failure
}

// readAnswer returns the body of a success. Of anything else it makes an error
// that holds none of the secrets.
func readAnswer(resp *http.Response, secrets ...string) ([]byte, error) {
	if resp.StatusCode < http.StatusOK {
		return nil, newStatusError(resp, nil)
	}
	if resp.StatusCode/100 == 3 && resp.Header.Get("Location") != "" {
		return nil, redirected(resp, secrets...)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case resp.StatusCode > http.StatusPartialContent:
		return nil, newStatusError(resp, body, secrets...)
	case err != nil:
		return nil, &url.Error{Op: "Read", URL: resp.Request.URL.String(), Err: err}
	case len(body) > maxAnswerBytes:
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", resp.Request.URL, maxAnswerBytes)
	case len(body) == 0:
		return nil, fmt.Errorf("0-length response with status code: %d and content type: %s", resp.StatusCode, oneLine(resp.Header.Get("Content-Type")))
	}
	return body, nil
}
