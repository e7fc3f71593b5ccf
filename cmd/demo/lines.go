package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// line is a request and what is answered.
type line struct {
	says         string // what it shows
	who          string // a user, or empty, or wrongToken
	method, path string
	status       int
	body         string // empty: not told
}

const wrongToken = "a wrong token"

func lines() []line {
	return []line{
		{"Nobody says who asks", "", "GET", "/metrics", 401, "Unauthorized"},
		{"The API server does not know this token", wrongToken, "GET", "/metrics", 401, "Unauthorized"},
		{"Another authority vouches for this certificate", strangerUser, "GET", "/metrics", 401, "Unauthorized"},
		{"A rule lets jane's group get nodes/metrics", "jane", "GET", "/metrics/resource", 200, ""},
		{"No rule lets jane get nodes/stats", "jane", "GET", "/stats/summary", 403, forbidden("jane", "get", "stats")},
		{"POST is the verb create, whatever the path", "jane", "POST", "/metrics", 403, forbidden("jane", "create", "metrics")},
		{"A path that is not there asks for nodes/proxy", "jane", "GET", "/nothing", 403, forbidden("jane", "get", "proxy")},
		{"John may see what jane may not", "john", "GET", "/logs/demo.log", 200, strings.TrimSpace(logText)},
		{"Nor may john what jane may", "john", "GET", "/metrics", 403, forbidden("john", "get", "metrics")},
		{"Nobody granted mallory anything, whose token is good", "mallory", "GET", "/healthz", 403, forbidden("mallory", "get", "proxy")},
		{"The API server, by its certificate, may do everything", apiServerUser, "GET", "/healthz", 200, "ok"},
		{"And it may learn what is not there", apiServerUser, "GET", "/nothing", 404, "404 page not found"},
		{"Nobody may ask for what can be read in two ways", apiServerUser, "GET", "/metrics/%2e%2e/spec/", 400, "Bad Request"},
	}
}

func forbidden(user, verb, subresource string) string {
	return fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s])", user, verb, subresource)
}

// guide tries all lines and prints them.
func (w *world) guide(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "A stand-in API server and the server, until Ctrl-C ends them. Each of these lines has just\nbeen tried, and is answered as it says:\n")
	for _, l := range lines() {
		if err := w.check(l); err != nil {
			return fmt.Errorf("%s: %w", w.curl(l), err)
		}
		fmt.Fprintf(&text, "\n# %s: %d %s\n%s\n", l.says, l.status, l.body, w.curl(l))
	}
	fmt.Fprintf(&text, `
Who has a token and who may what is in
  %s
Edit it, and it counts two seconds later. Let scrapers get "nodes/stats" too, and jane gets
them. A new user finds the token in a file beside it.
`, w.path("policy.json"))
	_, err := io.WriteString(out, strings.ReplaceAll(text.String(), " \n", "\n"))
	return err
}

// curl is the command line. It holds no token: that is in a file, so that nobody
// sees it in the list of processes.
func (w *world) curl(l line) string {
	args := []string{"curl", "-sS", `-w '\n%{http_code}\n'`, "--cacert " + w.path("ca.crt")}
	switch _, certified := w.certs[l.who]; {
	case l.who == "":
	case l.who == wrongToken:
		args = append(args, "-H 'Authorization: Bearer wrong'")
	case certified:
		args = append(args, "--cert "+w.path(l.who+".crt"), "--key "+w.path(l.who+".key"))
	default:
		args = append(args, "-H @"+w.path(l.who+".header"))
	}
	if l.method != http.MethodGet {
		args = append(args, "-X "+l.method)
	}
	if strings.Contains(l.path, "%") {
		args = append(args, "--path-as-is")
	}
	return strings.Join(append(args, w.url+l.path), " ")
}

// check returns an error unless the line is answered as it says.
func (w *world) check(l line) error {
	status, body, err := w.ask(l)
	if err == nil && (status != l.status || l.body != "" && strings.TrimSpace(body) != l.body) {
		err = fmt.Errorf("got %d %.200q, want %d %q", status, body, l.status, l.body)
	}
	return err
}

// ask sends what the line has curl send.
func (w *world) ask(l line) (status int, body string, err error) {
	r, err := http.NewRequest(l.method, w.url+l.path, nil)
	if err != nil {
		return 0, "", err
	}
	if token := w.tokens[l.who]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	} else if l.who == wrongToken {
		r.Header.Set("Authorization", "Bearer wrong")
	}
	config := &tls.Config{RootCAs: w.ca.Pool()}
	if cert, ok := w.certs[l.who]; ok { // whichever authorities the server asks for
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: 15 * time.Second}).Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(content), err
}
