package e2e

import (
	"fmt"
	"net/http"
	"strings"
)

// class is what kind of answer it is, as far as it says how a request was protected.
type class string

const (
	classUnauthorized class = "401"
	classForbidden    class = "403"
	classFailed       class = "500" // nobody could say whether it is allowed
	classAllowed      class = "allowed"
	classRedirect     class = "redirect"
	classNotFound     class = "404 before authentication"
	classMalformed    class = "malformed" // what net/http refuses by itself, and then closes the connection
	classAmbiguous    class = "400"       // what our filter refuses
)

// outcome is an answer: its class, and the text where that matters.
type outcome struct {
	class class
	text  string
}

func (o outcome) String() string { return fmt.Sprintf("%s %q", o.class, o.text) }

// classify tells what an answer to r means. Whatever is behind the filter may answer in any way. A 404 in the words of
// net/http is an answer before authentication only if the filter is behind the mux: in the kubelet, and there not below
// /logs/, where files are served.
func (e *endpoint) classify(r request, a answer) outcome {
	head := r.method == http.MethodHead // has no body
	switch {
	case a.status == http.StatusUnauthorized:
		return outcome{classUnauthorized, a.body}
	case a.status == http.StatusForbidden:
		return outcome{classForbidden, a.body}
	case a.status == http.StatusInternalServerError && (head || strings.HasPrefix(a.body, "Authorization error")):
		return outcome{classFailed, a.body}
	case a.status == http.StatusTemporaryRedirect && e.filterFirst && r.isLogs(): // by what is behind the filter
		return outcome{class: classAllowed}
	case a.status == http.StatusTemporaryRedirect:
		return outcome{classRedirect, a.location}
	case a.status == http.StatusNotFound && (head || a.body == "404 page not found\n"):
		if _, decoded, _ := r.path(); e.filterFirst || strings.HasPrefix(decoded, "/logs/") {
			return outcome{class: classAllowed}
		}
		return outcome{class: classNotFound}
	case e.filterFirst && !head && a.status == http.StatusBadRequest && a.body == "": // a mux that does not take the target *
		return outcome{class: classAllowed}
	case a.last && (a.status == http.StatusBadRequest || a.status == http.StatusRequestHeaderFieldsTooLarge):
		return outcome{classMalformed, a.body}
	case a.status == http.StatusBadRequest && (head || a.body == "Bad Request"):
		return outcome{classAmbiguous, a.body}
	}
	return outcome{class: classAllowed}
}

// isLogs reports whether a request is for /logs, which is redirected to /logs/.
func (r request) isLogs() bool {
	_, decoded, _ := r.path()
	return decoded == "/logs"
}
