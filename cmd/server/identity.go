package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/kubeclient"
	"kubeletauth/kubeletapi/options"
)

// askingTime bounds all questions of a subcommand; one of them has 10 seconds.
const askingTime = time.Minute

// inquiry is the command line of a subcommand that asks what the server would
// do: the server's own flags, and those that name a caller.
type inquiry struct {
	options.Options
	name, help string

	user, tokenFile, certFile string
	groups                    []string
	apiServerUser, output     string // the former of check alone
}

// define adds the flags that the server does not have.
func (q *inquiry) define(flags *flag.FlagSet) {
	flags.StringVar(&q.user, "user", "", "name of the caller, which is believed")
	q.groups = nil
	flags.Func("group", "group of --user; may be given more than once", func(group string) error {
		q.groups = append(q.groups, group)
		return nil
	})
	flags.StringVar(&q.tokenFile, "token-file", "", "file with the caller's bearer token, which is never shown")
	flags.StringVar(&q.certFile, "cert-file", "", "file with the caller's certificate, followed by its intermediates")
	flags.StringVar(&q.output, "o", "table", "table, or json for programs")
	if q.name == "check" {
		flags.StringVar(&q.apiServerUser, "apiserver-user", "", "user that the API server is to this server, who needs to be allowed everything; --group is of this user if there is no --user")
	}
}

// parse reads args, and returns those that are no flags, of which there must be so
// many.
func (q *inquiry) parse(args []string, operands int) (rest []string, err error) {
	if q.Options, rest, _, err = options.ParseWith(args, q.define); err != nil {
		return nil, err
	}
	names := append([]string{q.user, q.apiServerUser}, q.groups...)
	switch {
	case len(rest) > operands:
		return nil, usage("unexpected argument %q", rest[operands])
	case len(rest) < operands:
		return nil, usage("METHOD and PATH are missing, such as GET /metrics")
	case q.output != "table" && q.output != "json":
		return nil, usage("-o %q: must be table or json", q.output)
	case len(nonEmpty(q.user, q.tokenFile, q.certFile)) > 1:
		return nil, usage("--user, --token-file and --cert-file: name one caller")
	case len(q.groups) > 0 && q.user+q.apiServerUser == "":
		return nil, usage("--group goes with --user: a token or certificate brings its own groups")
	case slices.ContainsFunc(names, func(name string) bool { return !utf8.ValidString(name) }):
		return nil, usage("the names of users and groups must be UTF-8")
	}
	return rest, nil
}

func usage(format string, args ...any) error {
	return &options.UsageError{Err: fmt.Errorf(format+" (-h lists the flags)", args...)}
}

// answer is what a subcommand has found out.
type answer interface {
	text() string
	good() bool
}

// run finds the answer, prints it in the form that was asked for, and returns the
// exit code.
func (q *inquiry) run(ctx context.Context, find func(context.Context) (answer, error), stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, askingTime)
	defer cancel()
	found, err := find(ctx)
	if errors.Is(err, flag.ErrHelp) {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		q.define(flags)
		fmt.Fprint(stdout, q.help)
		printFlags(stdout, flags)
		fmt.Fprint(stdout, "\nAll flags of the server mean what they mean there: server -h lists them.\n")
		return 0
	}
	if err == nil {
		text := printable(found.text())
		if q.output == "json" {
			encoded, _ := json.MarshalIndent(found, "", "  ") // answers hold nothing that JSON has no form for
			text = string(encoded) + "\n"
		}
		_, err = io.WriteString(stdout, text)
	}
	switch {
	case err == nil && found.good():
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "server %s: %s\n", q.name, printable(err.Error()))
	}
	if errors.As(err, new(*options.UsageError)) {
		return 2
	}
	return 1
}

// client returns the client that the server would have. If it needs none, or
// cannot have one, that is a client that answers nothing but errors.
func (q *inquiry) client(logger *slog.Logger) (*kubeclient.Client, error) {
	if !q.AuthenticationTokenWebhook && q.AuthorizationMode == kubeletapi.ModeAlwaysAllow {
		return new(kubeclient.Client), nil
	}
	client, err := kubeclient.New(kubeclient.Config{Kubeconfig: q.Kubeconfig, InCluster: q.InCluster, Logger: logger})
	if err != nil {
		return new(kubeclient.Client), fmt.Errorf("--kubeconfig, --in-cluster: %w", err)
	}
	return client, nil
}

// auth returns the filter of the server, which takes --user at its word.
func (q *inquiry) auth(client *kubeclient.Client) (*kubeletapi.Auth, error) {
	cfg := q.Config
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.TokenReviewer, cfg.AccessReviewer = client, client
	auth, err := kubeletapi.New(cfg)
	if err == nil && q.user != "" {
		auth.Authenticator = believed{userOf(q.user, q.groups)}
	}
	return auth, err
}

// believed is an authenticator of one user, who need not show a credential.
type believed struct{ user *authn.UserInfo }

func (b believed) AuthenticateRequest(*http.Request) (*authn.UserInfo, bool, error) {
	return b.user, true, nil
}

// userOf is a user with the groups that the server or the API server would add;
// those of a name only if none are given (k8s.io/apiserver
// pkg/endpoints/filters/impersonation/impersonation.go).
func userOf(name string, groups []string) *authn.UserInfo {
	if s := subjectFrom(name); len(groups) == 0 && name == authn.UserAnonymous {
		groups = []string{authn.GroupUnauthenticated}
	} else if len(groups) == 0 && s.account != "" {
		groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + s.namespace}
	}
	return authn.AuthenticatedUser(&authn.UserInfo{Username: name, Groups: groups})
}

// subjectFrom takes the name of a user apart who is a service account.
func subjectFrom(user string) subject {
	name, ok := strings.CutPrefix(user, "system:serviceaccount:")
	namespace, account, _ := strings.Cut(name, ":")
	if s := (subject{"", account, namespace}); ok && account != "" && s.check("") == nil {
		return s
	}
	return subject{user: user}
}

// request is what the caller would send, with the credential in it.
func (q *inquiry) request(method, target string) (*http.Request, error) {
	r, err := http.NewRequest(method, "https://localhost/", nil)
	if err != nil || method != strings.ToUpper(method) {
		return nil, usage("METHOD %q: must be a word in capitals, such as GET", method)
	}
	if r.URL, err = url.ParseRequestURI(target); err != nil || target[0] != '/' && target != "*" || strings.Contains(target, " ") {
		return nil, usage("PATH %q: must be what stands behind the host in a URL, from the slash on", target)
	}
	r.RemoteAddr = "127.0.0.1:0"
	switch {
	case q.tokenFile != "":
		content, err := readFile("token-file", q.tokenFile)
		token := strings.TrimSpace(string(content))
		if err == nil && (token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f })) {
			err = errors.New("--token-file: the file must hold a token and nothing else")
		}
		r.Header.Set("Authorization", "Bearer "+token)
		return r, err
	case q.certFile != "":
		r.TLS = new(tls.ConnectionState)
		r.TLS.PeerCertificates, err = readCertificates("cert-file", q.certFile)
	}
	return r, err
}

// ignored says which credential the configuration makes the server overlook.
func (q *inquiry) ignored() string {
	switch {
	case q.tokenFile != "" && !q.AuthenticationTokenWebhook:
		return "bearer tokens are off (--authentication-token-webhook), so the token does not count"
	case q.certFile != "" && q.ClientCAFile == "":
		return "client certificates are off (--client-ca-file), so the certificate does not count"
	}
	return ""
}

// readFile reads at most 1 MiB. Its errors do not repeat the path, in whose place
// somebody may have given the secret itself.
func readFile(flag, path string) (content []byte, err error) {
	const most = 1 << 20
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		content, err = io.ReadAll(io.LimitReader(f, most+1))
	}
	var where *fs.PathError
	switch {
	case errors.As(err, &where):
		err = where.Err
	case err == nil && len(content) > most:
		err = fmt.Errorf("larger than %d bytes", most)
	}
	if err != nil {
		return nil, fmt.Errorf("--%s must name a file: %w", flag, err)
	}
	return content, nil
}

// readCertificates returns the certificates of a file in PEM, at least one.
func readCertificates(flag, path string) (list []*x509.Certificate, err error) {
	content, err := readFile(flag, path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		list = append(list, certificate)
	}
	if list == nil {
		return nil, fmt.Errorf("--%s: there is no certificate in PEM form in the file", flag)
	}
	return list, nil
}

// printable writes what a terminal could act on, and YAML has no place for, as
// an escape of YAML's.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// columns has a line for each row, and its cells below each other.
func columns(rows ...[]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = oneLine(cell)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	return b.String()
}

// oneLine is text with nothing in it that a tabwriter acts on.
func oneLine(text string) string {
	return printable(strings.ReplaceAll(text, "\n", `\n`))
}

// joined is what is said of the list, with colons between.
func joined(list ...string) string { return strings.Join(nonEmpty(list...), ": ") }

func nonEmpty(list ...string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// either returns one of two words.
func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
