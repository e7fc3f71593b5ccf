package kubeletapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/testdata/vectors"
)

func TestConfigVectors(t *testing.T) {
	vectors.Run(t, "config", "kubeletapi", 140, func(t *testing.T, input, expect *vectors.Object) {
		c := &configured{t: t, dir: t.TempDir(), cas: map[string]*apiservertest.CA{}, clients: map[string]*x509.Certificate{}, log: newLogged()}
		c.write(vectors.Or[map[string]*string](input, "files", nil))
		if input.Has("rewrite") { // and then a second passes
			for _, name := range []string{"one", "two", "three"} {
				c.client(name) // no keys can be made in a bubble in FIPS mode
			}
			synctest.Test(t, func(t *testing.T) { c.run(input, expect) })
			return
		}
		c.run(input, expect)
	})
}

// configured is a row about a command line: what it means, and what the server
// is that it starts.
type configured struct {
	t       *testing.T
	dir     string
	cas     map[string]*apiservertest.CA
	clients map[string]*x509.Certificate // by authority
	pairs   map[string]tls.Certificate
	written map[string]string
	log     *logged

	cfg     Config
	ignored []string
	auth    *Auth
	server  *Server
	tls     *tls.Config
}

func (c *configured) run(input, expect *vectors.Object) {
	c.t.Helper()
	args := vectors.Or[[]string](input, "args", nil)
	for i := range args {
		args[i] = c.expand(args[i])
	}
	err := c.parse(args)
	c.checkSettings(expect)
	if err == nil && needsServer(expect) {
		err = c.start()
	}
	c.checkStart(err, expect)
	if c.tls == nil {
		return
	}
	if input.Has("rewrite") {
		c.rewrite(vectors.Or[map[string]*string](input, "rewrite", nil))
	}
	c.checkRoots(expect)
	c.checkLogged(expect)
	c.checkCertificate(expect)
	c.checkFiles(expect)
}

// needsServer reports whether a row is about more than what the command line
// means.
func needsServer(expect *vectors.Object) bool {
	return slices.ContainsFunc([]string{
		"startup", "startup_error", "startup_error_contains", "nodeName", "alpn",
		"dnsNames", "cn", "accepts", "files",
	}, expect.Has)
}

// expand puts in the folder of the row, and the name of this machine.
func (c *configured) expand(text string) string {
	c.t.Helper()
	host, err := os.Hostname()
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.NewReplacer("$DIR", c.dir, "$HOST", strings.ToLower(host)).Replace(text)
}

// write writes files, and removes those that are null. In their contents,
// words with an @ stand for something in PEM.
func (c *configured) write(files map[string]*string) {
	c.t.Helper()
	if c.written == nil {
		c.written = map[string]string{}
	}
	for name, content := range files {
		path := filepath.Join(c.dir, name)
		if content == nil {
			if err := os.Remove(path); err != nil {
				c.t.Fatal(err)
			}
			continue
		}
		text, words, _ := strings.Cut(*content, "@")
		for word := range strings.SplitSeq(words, "@") {
			text += c.pem(word)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			c.t.Fatal(err)
		}
		c.written[name] = text
	}
}

func (c *configured) pem(word string) string {
	c.t.Helper()
	switch word {
	case "":
		return ""
	case "malformed":
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")}))
	case "headers":
		block, _ := pem.Decode(c.ca("one").PEM())
		block.Headers = map[string]string{"a": "b"}
		return string(pem.EncodeToMemory(block))
	}
	name, what, _ := strings.Cut(word, " ")
	switch what {
	case "certificate":
		return string(apiservertest.CertPEM(c.pair(name)))
	case "key":
		return string(apiservertest.KeyPEM(c.pair(name)))
	}
	return string(c.ca(word).PEM())
}

// ca and client make an authority, and a certificate of it for a client. Both
// are valid since before the year 2000, with which bubbles begin.
func (c *configured) ca(name string) *apiservertest.CA {
	c.t.Helper()
	if c.cas[name] == nil {
		ca, err := apiservertest.MustNewCA(c.t, "root").IssueCA(apiservertest.Certificate{CommonName: name, NotBefore: time.Unix(0, 0)})
		if err != nil {
			c.t.Fatal(err)
		}
		c.cas[name] = ca
	}
	return c.cas[name]
}

func (c *configured) client(name string) *x509.Certificate {
	c.t.Helper()
	if c.clients[name] == nil {
		c.clients[name] = c.ca(name).MustIssue(c.t, apiservertest.Certificate{CommonName: "jane", NotBefore: time.Unix(0, 0)}).Leaf
	}
	return c.clients[name]
}

// pair is a serving certificate with that name.
func (c *configured) pair(name string) tls.Certificate {
	if pair, ok := c.pairs[name]; ok {
		return pair
	}
	certificate := apiservertest.Certificate{CommonName: name, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if name == "expired" {
		certificate.NotBefore, certificate.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	if c.pairs == nil {
		c.pairs = map[string]tls.Certificate{}
	}
	c.pairs[name] = c.ca("serving").MustIssue(c.t, certificate)
	return c.pairs[name]
}

// ParseOptions is that of package options, which imports this one.
var ParseOptions func(args []string) (cfg Config, ignored []string, err error)

func (c *configured) parse(args []string) (err error) {
	c.cfg, c.ignored, err = ParseOptions(args)
	return err
}

func (c *configured) start() (err error) {
	c.cfg.Logger = slog.New(c.log)
	if c.auth, err = New(c.cfg); err != nil {
		return err
	}
	c.server = &Server{Config: c.cfg, Auth: c.auth}
	server, err := c.server.httpServer()
	if err != nil {
		return err
	}
	c.tls = server.TLSConfig
	return nil
}

// checkSettings checks what the command line means.
func (c *configured) checkSettings(expect *vectors.Object) {
	c.t.Helper()
	cfg := c.cfg
	check(c, expect, "anonymous", cfg.AnonymousAuth)
	check(c, expect, "webhookAuthn", cfg.AuthenticationTokenWebhook)
	check(c, expect, "mode", cfg.AuthorizationMode)
	check(c, expect, "tokenTTL", max(cfg.AuthenticationTokenWebhookCacheTTL, 0).String())
	check(c, expect, "authorizedTTL", max(cfg.AuthorizationWebhookCacheAuthorizedTTL, 0).String())
	check(c, expect, "unauthorizedTTL", max(cfg.AuthorizationWebhookCacheUnauthorizedTTL, 0).String())
	check(c, expect, "address", cfg.Address)
	check(c, expect, "port", cfg.Port)
	check(c, expect, "clientCAFile", cfg.ClientCAFile)
	check(c, expect, "tlsCertFile", cfg.TLSCertFile)
	check(c, expect, "tlsPrivateKeyFile", cfg.TLSPrivateKeyFile)
	check(c, expect, "tlsMinVersion", cfg.TLSMinVersion)
	check(c, expect, "certDir", cfg.CertDir)
	check(c, expect, "kubeconfig", cfg.Kubeconfig)
	check(c, expect, "fineGrained", cfg.FeatureGates[FineGrainedGate])
	var ignored []string
	if expect.Get("ignored", &ignored) && !slices.Equal(ignored, c.ignored) {
		c.t.Errorf("ignored %q, want %q", c.ignored, ignored)
	}
}

func check[T comparable](c *configured, expect *vectors.Object, key string, got T) {
	c.t.Helper()
	want := got
	if !expect.Get(key, &want) {
		return
	}
	if text, ok := any(want).(string); ok {
		want = any(c.expand(text)).(T)
	}
	if got != want {
		c.t.Errorf("%s: %v, want %v", key, got, want)
	}
}

// checkStart checks the error that keeps the server from starting. It says what
// the kubelet's says, and possibly more.
func (c *configured) checkStart(err error, expect *vectors.Object) {
	c.t.Helper()
	want := vectors.Or(expect, "startup_error", vectors.Or(expect, "startup_error_contains", ""))
	switch {
	case want == "" && err != nil:
		c.t.Fatalf("error %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), c.expand(want))):
		c.t.Errorf("error %v, want %s", err, c.expand(want))
	}
	if startup := vectors.Or(expect, "startup", "ok"); startup != "ok" {
		c.t.Errorf("unknown startup %q", startup)
	}
	if c.auth != nil {
		check(c, expect, "nodeName", c.auth.NodeName)
	}
}
