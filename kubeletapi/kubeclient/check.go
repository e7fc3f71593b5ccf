package kubeclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Version asks the API server for its version, such as v1.37.2, once and with
// the credential of the reviews, for whoever checks a configuration. It follows
// no redirect and takes as long as one review may. The time is that of the
// server's Date header, in whole seconds: it is zero if there was no answer, and
// set, beside an error, if there was one without a version.
func (c *Client) Version(ctx context.Context) (version string, date time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	s, cred, err := c.credential(ctx)
	if err != nil {
		return "", date, err
	}
	err = c.do(ctx, cred, http.MethodGet, s.server.JoinPath("version"), nil, func(resp *http.Response) error {
		date, _ = http.ParseTime(resp.Header.Get("Date")) // zero without one
		version, err = readVersion(resp)
		return err
	})
	err = hide(err, cred.secret(), s.password)
	if date.IsZero() && err != nil {
		err = fmt.Errorf("asking for the version: %w", err)
	}
	return version, date, err
}

// readVersion holds nothing of an answer but a version.
func readVersion(resp *http.Response) (string, error) {
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the API server answered %d to GET %s", resp.StatusCode, resp.Request.URL)
	}
	var answer struct{ GitVersion string }
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer) != nil || answer.GitVersion == "" {
		return "", fmt.Errorf("the answer to GET %s is not that of an API server: there is no gitVersion in it", resp.Request.URL)
	}
	return oneLine(answer.GitVersion), nil
}
