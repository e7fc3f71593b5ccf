package main

import (
	"bytes"
	"crypto/x509"
	"flag"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

const configHead = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

const secret = "SECRET-token-of-jane"

// town is an API server, a client CA, and the files of a server that trusts
// both.
type town struct {
	t   *testing.T
	api *apiservertest.Server
	ca  *apiservertest.CA
	dir string
}

func newTown(t *testing.T) *town {
	w := &town{t, apiservertest.MustStart(t, apiservertest.Config{}), apiservertest.MustNewCA(t, "client-ca"), t.TempDir()}
	w.write("kubeconfig", w.api.Kubeconfig(""))
	w.write("ca.crt", w.ca.PEM())
	w.api.SetToken(secret, authn.UserInfo{Username: "jane", UID: "1", Groups: []string{"readers"}})
	w.write("token", []byte(secret+"\n"))
	w.write("joe.crt", apiservertest.CertPEM(w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "joe", Organizations: []string{"ops"}})))
	w.serving("tls", apiservertest.Certificate{DNSNames: []string{"n1"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	return w
}

func (w *town) write(name string, content []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// serving writes a serving certificate and its key.
func (w *town) serving(name string, c apiservertest.Certificate) {
	c.CommonName, c.Usages = "n1", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	pair := w.ca.MustIssue(w.t, c)
	w.write(name+".crt", apiservertest.CertPEM(pair))
	w.write(name+".key", apiservertest.KeyPEM(pair))
}

// flags are those of a server that lets the API server decide.
const secureFlags = "--hostname-override=n1 --anonymous-auth=false --client-ca-file=DIR/ca.crt --authentication-token-webhook --authorization-mode=Webhook --kubeconfig=DIR/kubeconfig --tls-cert-file=DIR/tls.crt --tls-private-key-file=DIR/tls.key"

// run runs a subcommand of words in which DIR stands for the folder and SECURE
// for secureFlags, and returns what it says, with nothing in it that changes from
// run to run. No token may be in it.
func (w *town) run(line string, more ...string) (code int, said string) {
	w.t.Helper()
	line = strings.ReplaceAll(strings.ReplaceAll(line, "SECURE", secureFlags), "DIR", w.dir)
	var stdout, stderr bytes.Buffer
	code = run(w.t.Context(), append(strings.Fields(line), more...), &stdout, &stderr)
	said = stdout.String() + stderr.String()
	for _, token := range []string{secret, w.api.ClientToken()} {
		if strings.Contains(said, token) {
			w.t.Errorf("%s: a token is in what it says: %s", line, said)
		}
	}
	said = strings.ReplaceAll(strings.ReplaceAll(said, w.dir, "DIR"), w.api.URL, "https://API")
	said = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:]+Z`).ReplaceAllString(said, "TIME")
	return code, regexp.MustCompile(`X509SHA256=[0-9a-f]{64}`).ReplaceAllString(said, "X509SHA256=HASH")
}

// want runs a subcommand and compares the exit code, and parts of what it says;
// a part after an exclamation mark must not be there.
func (w *town) want(line string, code int, parts string) {
	w.t.Helper()
	got, said := w.run(line)
	if got != code {
		w.t.Errorf("%s: exit code %d, want %d:\n%s", line, got, code, said)
	}
	for part := range strings.SplitSeq(parts, "|") {
		part, absent := strings.CutPrefix(part, "!")
		if strings.Contains(strings.Join(strings.Fields(said), " "), part) == absent {
			w.t.Errorf("%s: has, or lacks, %q:\n%s", line, part, said)
		}
	}
}

var update = flag.Bool("update", false, "write the files of expected output")

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s (%v) differs from:\n%s", name, err, got)
	}
}

func TestInquiryMistakes(t *testing.T) {
	w := newTown(t)
	w.write("empty", nil)
	w.write("two", []byte(secret+" "+secret))
	w.write("big", bytes.Repeat([]byte("x"), 1<<20+1))
	w.write("header.crt", bytes.Replace(w.ca.PEM(), []byte("CERTIFICATE-----\n"), []byte("CERTIFICATE-----\na: b\n\n"), 1))
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"check -h", 0, "Usage: server check|--user|--apiserver-user|server -h|-o string|!--o|!METHOD"},
		{"explain -h", 0, "Usage: server explain|--token-file|!--apiserver-user"},
		{"explain --user=x -h", 0, "Usage: server explain"},
		{"check --bogus", 2, "-bogus|-h"},
		{"check now", 2, `unexpected argument "now"`},
		{"check --user", 2, "flag needs an argument: -user"},
		{"check -o yaml", 2, `-o "yaml": must be table or json`},
		{"check --port=0", 2, "--port 0"},
		{"check --user=a --token-file=b", 2, "name one caller"},
		{"check --cert-file=a --token-file=b", 2, "name one caller"},
		{"check --group=g", 2, "--group goes with --user"},
		{"check --token-file=DIR/token --group=g", 2, "--group goes with --user"},
		{"check --user=\xff", 2, "must be UTF-8"},
		{"check --user=a --group=\xff", 2, "must be UTF-8"},
		{"check --user=a\xc3 --group=\xa9", 2, "must be UTF-8"},
		{"check --config=DIR/none", 1, "--config|none"},
		{"explain", 2, "METHOD and PATH are missing"},
		{"explain GET", 2, "METHOD and PATH are missing"},
		{"explain --port=x GET /", 2, "-port|number"},
		{"explain GET / more", 2, `unexpected argument "more"`},
		{"explain --apiserver-user=x GET /", 2, "-apiserver-user"},
		{"explain GET metrics", 2, `PATH "metrics"`},
		{"explain GET https://n1/metrics", 2, "from the slash on"},
		{"explain GET /%zz", 2, `PATH "/%zz"`},
		{"explain GET /\x01", 2, `\x01`},
		{"explain get /", 2, `METHOD "get"|capitals`},
		{"explain G(T /", 2, `METHOD "G(T"`},
		{"explain --token-file=" + secret + " GET /", 1, "--token-file must name a file: |!SECRET"},
		{"explain --token-file=DIR/empty GET /", 1, "a token and nothing else"},
		{"explain --token-file=DIR/two GET /", 1, "a token and nothing else"},
		{"explain --token-file=DIR/big GET /", 1, "larger than 1048576 bytes"},
		{"explain --token-file=DIR GET /", 1, "--token-file must name a file: "},
		{"explain --cert-file=DIR/token GET /", 1, "no certificate in PEM form"},
		{"explain --cert-file=DIR/header.crt GET /", 1, "no certificate in PEM form"},
		{"explain --cert-file=DIR/none GET /", 1, "--cert-file must name a file"},
		{"explain --client-ca-file=DIR/none GET /", 1, "--client-ca-file"},
		{"explain --authorization-mode=Webhook GET /", 1, "no API server to ask"},
		{"explain --authorization-mode=Webhook --kubeconfig=DIR/empty GET /", 1, "--kubeconfig|DIR/empty"},
	} {
		w.want(tt.line, tt.code, tt.want)
	}
}

// Flags stand on either side of the operands, in either form, with dashes or
// underscores.
func TestInquiryFlags(t *testing.T) {
	w := newTown(t)
	for _, line := range []string{
		"explain --user=jane --group=a --group=b -o=json GET /metrics",
		"explain GET /metrics --user jane --group a --group b -o json",
		"explain -user jane --hostname-override n --group a GET /metrics -o json --group=b",
	} {
		w.want(line, 0, `"username": "jane"|"groups": [ "a", "b", "system:authenticated" ]`)
	}
	w.want("explain --token_file=DIR/token --authentication_token_webhook --kubeconfig DIR/kubeconfig GET /", 0, "user jane|groups readers, system:authenticated")
}

func TestPrintable(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"a b\nc é 日本", "a b\nc é 日本"},
		{"\x1b[31m\t\r\x7f", `\u001b[31m\u0009\u000d\u007f`},
		{"\u009b1m \u202e \u2028 \ufeff \u00a0", `\u009b1m \u202e \u2028 \ufeff \u00a0`},
		{"\U000e0041\U0001f600", `\U000e0041` + "\U0001f600"},
		{"\xff", "\ufffd"},
	} {
		if got := printable(tt.text); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

// failing is a writer that takes nothing.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestInquiryOutputFails(t *testing.T) {
	for _, args := range [][]string{{"check"}, {"explain", "GET", "/"}} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, failing{}, &stderr); code != 1 || !strings.Contains(stderr.String(), "closed") {
			t.Errorf("%v: exit code %d: %s", args, code, stderr.String())
		}
	}
}
