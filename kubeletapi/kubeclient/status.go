package kubeclient

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kubeletauth/kubeletapi/internal/exactjson"
)

// StatusError is an answer of the API server, or of something on the way to it,
// whose code is none of success. Its text is one line, names the URL and the code, and
// holds no secret.
type StatusError struct {
	Code    int    // of HTTP
	Reason  string // Kubernetes' word for it, such as Forbidden; derived from Code if the answer has none
	Message string // the words of the answer, on one line and at most 1 KiB of them; may be empty
	URL     string // that was asked

	retryAfter   time.Duration // of the header; see hasRetry
	hasRetry     bool          // the header was there and is a whole number
	suggestsWait bool          // see retriable
	deciding     int           // code of the Status in the answer or, if it has none, of HTTP
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("the API server answered %d (%s) to POST %s", e.Code, cmp.Or(e.Reason, "no reason"), e.URL)
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// newStatusError takes what it can from an answer (k8s.io/apimachinery
// pkg/api/errors/errors.go NewGenericServerResponse, and Result.Error in
// k8s.io/client-go rest/request.go).
func newStatusError(resp *http.Response, body []byte, secrets ...string) *StatusError {
	e := &StatusError{Code: resp.StatusCode, Reason: reasonOf(resp.StatusCode), URL: resp.Request.URL.String(), deciding: resp.StatusCode}
	const longest = 1 << 20 // seconds: more than any deadline, and no overflow
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(min(max(seconds, 0), longest)) * time.Second
		e.hasRetry, e.suggestsWait = true, seconds > 0
	}
	var status struct {
		Kind    string `json:"kind"`
		Status  string `json:"status"`
		Message string `json:"message"`
		Reason  string `json:"reason"`
		Code    int    `json:"code"`
		Details *struct {
			RetryAfterSeconds int32 `json:"retryAfterSeconds"`
		} `json:"details"`
	}
	switch {
	case exactjson.Unmarshal(body, &status) == nil && status.Status == "Failure" && (status.Kind == "Status" || status.Kind == ""):
		e.Reason, e.Message, e.deciding = oneLine(status.Reason, secrets...), oneLine(status.Message, secrets...), cmp.Or(status.Code, resp.StatusCode)
		e.suggestsWait = status.Details != nil && (status.Reason == "ServerTimeout" || status.Details.RetryAfterSeconds > 0)
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain"):
		e.Message = oneLine(string(body), secrets...)
	}
	return e
}

// redirected is the answer that wants us to go elsewhere. Nothing is sent there.
func redirected(resp *http.Response, secrets ...string) *StatusError {
	target, _, _ := strings.Cut(resp.Header.Get("Location"), "?")
	message := fmt.Sprintf("the redirect to %q is not followed, for the request holds a token: use the URL of the API server itself", oneLine(target, secrets...))
	return &StatusError{Code: resp.StatusCode, Reason: "Redirect", Message: message, URL: resp.Request.URL.String()}
}

// reasonOf is the word that Kubernetes has for a code.
func reasonOf(code int) string {
	switch code {
	case http.StatusConflict:
		return "AlreadyExists"
	case http.StatusUnprocessableEntity:
		return "Invalid"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailable"
	case http.StatusGatewayTimeout:
		return "Timeout"
	}
	if code >= http.StatusInternalServerError {
		return "InternalError"
	}
	return strings.ReplaceAll(http.StatusText(code), " ", "")
}
