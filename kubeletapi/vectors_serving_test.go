package kubeletapi

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"kubeletauth/testdata/vectors"
)

// rewrite changes files, and waits until that must have been seen.
func (c *configured) rewrite(files map[string]*string) {
	c.t.Helper()
	c.accepted("one") // and remembered
	c.write(files)
	time.Sleep(time.Second)
}

// checkRoots checks which authorities' client certificates are accepted, and
// which authorities are named in the handshake.
func (c *configured) checkRoots(expect *vectors.Object) {
	c.t.Helper()
	for _, name := range vectors.Or[[]string](expect, "accepts", nil) {
		if !c.accepted(name) {
			c.t.Errorf("refused a certificate of %s", name)
		}
	}
	for _, name := range vectors.Or[[]string](expect, "refuses", nil) {
		if c.accepted(name) {
			c.t.Errorf("accepted a certificate of %s", name)
		}
	}
	var hint string
	if !expect.Get("hint", &hint) {
		return
	}
	config, err := c.tls.GetConfigForClient(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if !config.ClientCAs.Equal(c.ca(hint).Pool()) {
		c.t.Errorf("the handshake does not ask for certificates of %s", hint)
	}
}

func (c *configured) accepted(ca string) bool {
	c.t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.client(ca)}}
	user, err := c.auth.Check(r)
	return err == nil && user.Username == "jane"
}

func (c *configured) checkLogged(expect *vectors.Object) {
	c.t.Helper()
	var want string
	if !expect.Get("logged", &want) {
		return
	}
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if !slices.ContainsFunc(c.log.errs, func(text string) bool { return strings.Contains(text, c.expand(want)) }) {
		c.t.Errorf("logged %q, want %q", c.log.errs, c.expand(want))
	}
}

// checkCertificate checks the serving certificate and the handshake.
func (c *configured) checkCertificate(expect *vectors.Object) {
	c.t.Helper()
	if expect.Has("alpn") {
		check(c, expect, "alpn", c.negotiate())
	}
	served, err := c.tls.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		c.t.Fatal(err)
	}
	leaf := served.Leaf
	check(c, expect, "chain", len(served.Certificate))
	if pattern := vectors.Or(expect, "cn", leaf.Subject.CommonName); !vectors.Like(leaf.Subject.CommonName, pattern) {
		c.t.Errorf("common name %q, want %s", leaf.Subject.CommonName, pattern)
	}
	if diff := gocmp.Diff(vectors.Or(expect, "dnsNames", leaf.DNSNames), leaf.DNSNames, gocmp.FilterValues(bothEmpty, gocmp.Ignore())); diff != "" {
		c.t.Errorf("DNS names (-want +got):\n%s", diff)
	}
	for _, ip := range vectors.Or[[]string](expect, "ips_include", nil) {
		if !slices.ContainsFunc(leaf.IPAddresses, net.ParseIP(ip).Equal) {
			c.t.Errorf("addresses %v, want %s among them", leaf.IPAddresses, ip)
		}
	}
	c.checkValidity(leaf, expect)
}

func bothEmpty(a, b []string) bool { return len(a) == 0 && len(b) == 0 }

// checkValidity checks a range such as "-1h .. 8760h", from now on and to the
// minute.
func (c *configured) checkValidity(leaf *x509.Certificate, expect *vectors.Object) {
	c.t.Helper()
	from, to, ok := strings.Cut(vectors.Or(expect, "validity", ""), " .. ")
	if !ok {
		return
	}
	now := time.Now()
	for end, text := range map[time.Time]string{leaf.NotBefore: from, leaf.NotAfter: to} {
		if got := end.Sub(now); (got - duration(c.t, text)).Abs() > time.Minute {
			c.t.Errorf("valid from %v to %v, want %s to %s", leaf.NotBefore, leaf.NotAfter, from, to)
		}
	}
}

// negotiate returns the protocol that a client gets which knows both.
func (c *configured) negotiate() string {
	c.t.Helper()
	conn, err := tls.Dial("tcp", serveRows(c.t, c.server), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	return cmp.Or(conn.ConnectionState().NegotiatedProtocol, "none")
}

// checkFiles checks which files there are, and that those that the row wrote
// are what they were unless they had to be replaced.
func (c *configured) checkFiles(expect *vectors.Object) {
	c.t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(c.dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(c.dir, path))
		found[path] = string(content)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	var want []string
	if expect.Get("files", &want) && len(want) != len(found) {
		c.t.Errorf("there are %d files, want %q", len(found), want)
	}
	replaced := vectors.Or[[]string](expect, "replaced", nil)
	for _, name := range slices.Concat(want, replaced) {
		content, there := found[name]
		before, given := c.written[name]
		if same := !given || content == before; !there || same == (given && slices.Contains(replaced, name)) {
			c.t.Errorf("%s: there %t, as it was %t", name, there, same)
		}
	}
}
