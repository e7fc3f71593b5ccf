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
	"time"
)

const maxAnswerBytes = 1 << 20

// send makes one request, and another if the first was answered with 401 and
// our credential has changed since.
func (c *Client) send(ctx context.Context, q *question, version string) ([]byte, error) {
	s, err := c.session()
	if err != nil {
		return nil, err
	}
	cred, err := s.credential(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := c.post(ctx, s, cred, q, version)
	var status *StatusError
	if q.renewed || !errors.As(err, &status) || status.Code != http.StatusUnauthorized {
		return answer, err
	}
	s, next, renewErr := c.renew(ctx, s, cred)
	if renewErr != nil {
		return answer, fmt.Errorf("%w; there is no other credential: %w", err, renewErr)
	}
	if *next == *cred {
		return answer, err
	}
	q.renewed = true
	return c.post(ctx, s, next, q, version)
}

// renew looks for another credential than the one that was refused, which it
// may be all the same.
func (c *Client) renew(ctx context.Context, s *session, refused *credential) (*session, *credential, error) {
	if s.plugin != nil {
		s.plugin.drop(refused)
	}
	s, err := c.readAgain()
	if err != nil {
		return nil, nil, err
	}
	next, err := s.credential(ctx)
	return s, next, err
}

// post sends a question and returns the body of a success. It knows no redirects.
func (c *Client) post(ctx context.Context, s *session, cred *credential, q *question, version string) ([]byte, error) {
	body, err := q.body(version)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %w", q.kind, err)
	}
	target := s.server.JoinPath("apis", q.group, version, q.resource).String()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.config.UserAgent)
	if cred.authorization != "" {
		req.Header.Set("Authorization", cred.authorization)
	}
	code, start := "<error>", time.Now()
	transport, done := cred.use()
	defer func() {
		done(code == "<error>" && errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(start) >= c.config.Timeout/2)
		if c.plugins.closed() {
			cred.retire()
		}
		if c.config.Observe != nil {
			c.config.Observe(q.resource, code, time.Since(start))
		}
	}()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, unreachable("Post", target, err)
	}
	defer resp.Body.Close()
	code = strconv.Itoa(resp.StatusCode)
	q.held = []string{cred.secret(), s.password, q.secret}
	return readAnswer(resp, q.held...)
}

// unreachable adds what to do about an API server that there is no connection
// to.
func unreachable(op, target string, err error) error {
	failure := &url.Error{Op: op, URL: target, Err: err}
	var dial *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return fmt.Errorf("%w (is certificate-authority in the kubeconfig the one of this server, and server a name it has?)", failure)
	case errors.As(err, &dial) && dial.Op == "dial":
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
		return nil, fmt.Errorf("reading the answer of %s: %w", resp.Request.URL, err)
	case len(body) > maxAnswerBytes:
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", resp.Request.URL, maxAnswerBytes)
	case len(body) == 0:
		return nil, fmt.Errorf("0-length response with status code: %d and content type: %s", resp.StatusCode, oneLine(resp.Header.Get("Content-Type")))
	}
	return body, nil
}
