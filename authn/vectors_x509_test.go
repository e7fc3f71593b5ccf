package authn_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/testdata/vectors"
)

func TestX509Vectors(t *testing.T) {
	vectors.Run(t, "x509", "authn", 67, func(t *testing.T, input, expect *vectors.Object) {
		p := &pki{t: t, now: time.Now(), made: map[string]*apiservertest.CA{}}
		r := &http.Request{}
		if !input.Has("tls") {
			r.TLS = &tls.ConnectionState{PeerCertificates: p.sent(input)}
		}
		if input.Elsewhere("tls"); vectors.Or(input, "peer_certificates", 1) == 0 {
			r.TLS.PeerCertificates = nil
		}
		a := authn.X509{Roots: p.roots(input)}
		u, ok, err := a.AuthenticateRequest(r)
		checkError(t, err, expect)
		if ok != (u != nil) || u != nil && err != nil {
			t.Errorf("got %v, %t, %v", u, ok, err)
		}
		checkResult(t, u, expect)
		checkUser(t, u, p.leaf, expect)
		checkGroups(t, r, a, expect)
		var until string
		if expect.Get("until", &until) {
			_, notAfter, _ := authn.VerifyCertificate(a.Roots(), r.TLS.PeerCertificates)
			if want := p.after(until); !notAfter.Equal(want) {
				t.Errorf("good until %v, want %v", notAfter, want)
			}
		}
	})
}

// pki makes the certificates of one row.
type pki struct {
	t    *testing.T
	now  time.Time
	made map[string]*apiservertest.CA
	leaf *x509.Certificate
}

// ca makes the authority that rows know by name; two of them are no good ones.
func (p *pki) ca(name string) *apiservertest.CA {
	if p.made[name] == nil {
		p.made[name] = p.newCA(name)
	}
	return p.made[name]
}

func (p *pki) newCA(name string) *apiservertest.CA {
	c, parent := apiservertest.Certificate{CommonName: name}, "client CA"
	switch name {
	case "root":
		return p.ca("client CA")
	case "client CA", "other CA":
		return apiservertest.MustNewCA(p.t, name)
	case "intermediate":
	case "second intermediate":
		parent = "intermediate"
	case "server intermediate":
		c.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case "short intermediate":
		c.NotAfter = p.after("1h")
	case "expired intermediate":
		c.NotBefore, c.NotAfter = p.after("-2h"), p.after("-1h")
	case "leaf as CA":
		c.Modify = func(template *x509.Certificate) { template.IsCA = false }
	default:
		p.t.Fatalf("unknown authority %q", name)
	}
	ca, err := p.ca(parent).IssueCA(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return ca
}

func (p *pki) after(text string) time.Time {
	d, err := time.ParseDuration(text)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.now.Add(d).Truncate(time.Second)
}

// sent makes the leaf and returns what the client sends; without a chain in
// the row, that is the leaf alone.
func (p *pki) sent(input *vectors.Object) []*x509.Certificate {
	chain := vectors.Or(input, "chain", []string{"leaf"})
	issuer := "client CA"
	if len(chain) > 1 {
		issuer = chain[1]
	}
	ca := p.issuer(input, vectors.Or(input, "signed_by", issuer))
	p.leaf = ca.MustIssue(p.t, p.certificate(input)).Leaf
	var value any
	if input.Get("uid_value", &value) { // Go's parser would not have let it pass
		p.leaf.Subject.Names = append(p.leaf.Subject.Names, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: value})
	}
	return p.certificates(chain)
}

// issuer returns the authority with that name, or for a row about key ids one
// that leads to them: an issuer of the subject's own name leaves none.
func (p *pki) issuer(input *vectors.Object, name string) *apiservertest.CA {
	var akid string
	if !input.Get("akid", &akid) {
		return p.ca(name)
	}
	c := apiservertest.Certificate{CommonName: name, SubjectKeyID: p.bytes(akid)}
	if akid == "" {
		c.CommonName, c.SubjectKeyID = "jane", nil
	}
	ca, err := p.ca("other CA").IssueCA(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return ca
}

func (p *pki) bytes(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *pki) certificate(input *vectors.Object) apiservertest.Certificate {
	usages := map[string]x509.ExtKeyUsage{"clientAuth": x509.ExtKeyUsageClientAuth, "serverAuth": x509.ExtKeyUsageServerAuth, "any": x509.ExtKeyUsageAny, "codeSigning": x509.ExtKeyUsageCodeSigning}
	c := apiservertest.Certificate{
		ExtraNames:   p.subject(vectors.Or(input, "subject", "CN=jane")),
		SubjectKeyID: p.bytes(vectors.Or(input, "skid", "")),
		NotBefore:    p.after(vectors.Or(input, "not_before", "-1h")),
		NotAfter:     p.after(vectors.Or(input, "not_after", "24h")),
		Usages:       []x509.ExtKeyUsage{},
	}
	for _, name := range vectors.Or(input, "eku", []string{"clientAuth"}) {
		c.Usages = append(c.Usages, usages[name])
	}
	if serial := vectors.Or(input, "serial", int64(0)); serial != 0 {
		c.SerialNumber = big.NewInt(serial)
	}
	return c
}

// subject reads "CN=jane,O=dev"; quotes keep blanks.
func (p *pki) subject(text string) (names []pkix.AttributeTypeAndValue) {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		names = append(names, pkix.AttributeTypeAndValue{Type: p.oid(key), Value: strings.Trim(value, "'")})
	}
	return names
}

func (p *pki) oid(key string) (id asn1.ObjectIdentifier) {
	if known := map[string]string{"CN": "2.5.4.3", "O": "2.5.4.10"}[key]; known != "" {
		key = known
	}
	for arc := range strings.SplitSeq(key, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil {
			p.t.Fatal(err)
		}
		id = append(id, n)
	}
	return id
}

func (p *pki) certificates(names []string) (list []*x509.Certificate) {
	for _, name := range names {
		if name == "leaf" {
			list = append(list, p.leaf)
			continue
		}
		block, _ := pem.Decode(p.ca(name).PEM())
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			p.t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// roots returns the bundle of the row: the client CA, unless it names others.
// Null stands for no bundle at the moment, "off" for no source of one.
func (p *pki) roots(input *vectors.Object) func() *x509.CertPool {
	var names any = []any{"client CA"}
	input.Get("roots", &names)
	if names == "off" {
		return nil
	}
	var pool *x509.CertPool
	if list, ok := names.([]any); ok {
		pool = x509.NewCertPool()
		for _, name := range list {
			pool.AddCert(p.certificates([]string{name.(string)})[0])
		}
	}
	return func() *x509.CertPool { return pool }
}

// checkError checks an error against the keys error, error_contains and
// error_suffix; without any of them there must be none.
func checkError(t *testing.T, err error, expect *vectors.Object) {
	t.Helper()
	match := map[string]func(s, part string) bool{
		"error":          func(s, part string) bool { return s == part },
		"error_contains": strings.Contains,
		"error_suffix":   strings.HasSuffix,
	}
	wanted := false
	for key, matches := range match {
		var want string
		if !expect.Get(key, &want) {
			continue
		}
		wanted = true
		if err == nil || !matches(err.Error(), want) {
			t.Errorf("error %v, want %s %q", err, key, want)
		}
	}
	if !wanted && err != nil {
		t.Errorf("error %v", err)
	}
}

func checkResult(t *testing.T, u *authn.UserInfo, expect *vectors.Object) {
	t.Helper()
	switch result := vectors.Or(expect, "result", ""); {
	case result == "authenticated" && u == nil, result == "no-opinion" && u != nil:
		t.Errorf("got %v, want %s", u, result)
	case !slices.Contains([]string{"", "authenticated", "no-opinion"}, result):
		t.Errorf("unknown result %q", result)
	}
}

// checkUser checks the fields of the user that a leaf stands for.
func checkUser(t *testing.T, u *authn.UserInfo, leaf *x509.Certificate, expect *vectors.Object) {
	t.Helper()
	if u == nil {
		return
	}
	id := fmt.Sprintf("X509SHA256=%x", sha256.Sum256(leaf.Raw))
	extra := map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=<lower-case hex sha256 of the leaf DER>"}}
	expect.Get("extra", &extra)
	for _, values := range extra {
		values[0] = strings.Replace(values[0], "X509SHA256=<lower-case hex sha256 of the leaf DER>", id, 1)
	}
	want := authn.UserInfo{
		Username: vectors.Or(expect, "user", u.Username),
		UID:      vectors.Or(expect, "uid", u.UID),
		Groups:   vectors.Or(expect, "groups", u.Groups),
		Extra:    extra,
	}
	if diff := cmp.Diff(want, *u, emptyIsNil); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
}

// checkGroups checks the groups behind the group adder.
func checkGroups(t *testing.T, r *http.Request, a authn.Authenticator, expect *vectors.Object) {
	t.Helper()
	var want []string
	if !expect.Get("groups_after_chain", &want) {
		return
	}
	u, _, err := authn.AddAuthenticatedGroup(a).AuthenticateRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, u.Groups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

// emptyIsNil takes an empty list for none, as JSON with omitempty does.
var emptyIsNil = cmp.FilterValues(func(a, b []string) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())
