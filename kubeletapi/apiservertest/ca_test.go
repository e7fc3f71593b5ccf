package apiservertest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"

	"github.com/google/go-cmp/cmp"
)

func TestIssue(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "test")
	notBefore := time.Now().Add(-2 * time.Hour).Truncate(time.Second).UTC()
	cert := ca.MustIssue(t, apiservertest.Certificate{
		CommonName:    "jane",
		Organizations: []string{"zebras", "dev", "admins"},
		UIDs:          []string{"7"},
		DNSNames:      []string{"a.example"},
		IPs:           []net.IP{net.IPv4(10, 0, 0, 1)},
		NotBefore:     notBefore,
		NotAfter:      notBefore.Add(3 * time.Hour),
		SerialNumber:  big.NewInt(42),
		SubjectKeyID:  []byte{1, 2, 3},
	})
	leaf := cert.Leaf
	if err := verify(cert, ca.Pool(), x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if verify(cert, ca.Pool(), x509.ExtKeyUsageServerAuth) == nil || verify(cert, apiservertest.MustNewCA(t, "test").Pool(), x509.ExtKeyUsageClientAuth) == nil {
		t.Error("good for more than it should be")
	}
	if !leaf.NotBefore.Equal(notBefore) || !leaf.NotAfter.Equal(notBefore.Add(3*time.Hour)) || leaf.SerialNumber.Int64() != 42 ||
		!bytes.Equal(leaf.SubjectKeyId, []byte{1, 2, 3}) || len(leaf.AuthorityKeyId) == 0 || leaf.DNSNames[0] != "a.example" || !leaf.IPAddresses[0].Equal(net.IPv4(10, 0, 0, 1)) {
		t.Errorf("unexpected certificate %+v", leaf)
	}
	if key := cert.PrivateKey.(*ecdsa.PrivateKey); key.Curve.Params().Name != "P-256" {
		t.Errorf("a key on %s", key.Curve.Params().Name)
	}
	u, _, err := authn.VerifyCertificate(ca.Pool(), []*x509.Certificate{leaf})
	if err != nil {
		t.Fatal(err)
	}
	u.Extra = nil
	if diff := cmp.Diff(u, &authn.UserInfo{Username: "jane", UID: "7", Groups: []string{"zebras", "dev", "admins"}}); diff != "" {
		t.Errorf("user (-got+want):\n%s", diff)
	}
}

func TestIssueDefaults(t *testing.T) {
	leaf := apiservertest.MustNewCA(t, "test").MustIssue(t, apiservertest.Certificate{}).Leaf
	if got := leaf.NotAfter.Sub(leaf.NotBefore); got != 25*time.Hour || time.Since(leaf.NotBefore).Round(time.Minute) != time.Hour {
		t.Errorf("valid from %v for %v", leaf.NotBefore, got)
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || leaf.SerialNumber.BitLen() < 32 ||
		leaf.SubjectKeyId != nil || leaf.IsCA || leaf.Subject.String() != "" {
		t.Errorf("unexpected certificate %+v", leaf)
	}
}

func TestIssueOddities(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "test")
	none := ca.MustIssue(t, apiservertest.Certificate{Usages: []x509.ExtKeyUsage{}})
	if len(none.Leaf.ExtKeyUsage) != 0 {
		t.Errorf("usages %v", none.Leaf.ExtKeyUsage)
	}
	anyUsage := ca.MustIssue(t, apiservertest.Certificate{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err := verify(anyUsage, ca.Pool(), x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
	uid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}
	for want, c := range map[string]apiservertest.Certificate{
		"expected 1 UID, but found multiple: [a b]": {CommonName: "x", UIDs: []string{"a", "b"}},
		"UID cannot be an empty string":             {CommonName: "x", ExtraNames: []pkix.AttributeTypeAndValue{{Type: uid, Value: ""}}},
	} {
		if _, _, err := authn.VerifyCertificate(ca.Pool(), []*x509.Certificate{ca.MustIssue(t, c).Leaf}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	modified := ca.MustIssue(t, apiservertest.Certificate{Modify: func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b"} }})
	if !slices.Equal(modified.Leaf.EmailAddresses, []string{"a@b"}) {
		t.Error("Modify was not heard")
	}
	if c, err := ca.Issue(apiservertest.Certificate{CommonName: "\xff"}); err == nil || c.Certificate != nil {
		t.Errorf("a name that is not UTF-8: error %v", err)
	}
	if c, err := apiservertest.NewCA("\xff"); err == nil || c != nil {
		t.Errorf("a CA name that is not UTF-8: error %v", err)
	}
}

func TestIntermediate(t *testing.T) {
	root := apiservertest.MustNewCA(t, "root")
	middle, err := root.IssueCA(apiservertest.Certificate{CommonName: "middle"})
	if err != nil {
		t.Fatal(err)
	}
	low, err := middle.IssueCA(apiservertest.Certificate{CommonName: "low"})
	if err != nil {
		t.Fatal(err)
	}
	cert := low.MustIssue(t, apiservertest.Certificate{CommonName: "jane"})
	if len(cert.Certificate) != 3 {
		t.Fatalf("a chain of %d, want leaf, low, middle", len(cert.Certificate))
	}
	for _, ca := range []*apiservertest.CA{root, middle, low} {
		if err := verify(cert, ca.Pool(), x509.ExtKeyUsageClientAuth); err != nil {
			t.Error(err)
		}
	}
	cert.Certificate = cert.Certificate[:2]
	if verify(cert, root.Pool(), x509.ExtKeyUsageClientAuth) == nil {
		t.Error("verified without the middle")
	}
	expired, err := root.IssueCA(apiservertest.Certificate{CommonName: "expired", NotAfter: time.Now().Add(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if verify(expired.MustIssue(t, apiservertest.Certificate{}), root.Pool(), x509.ExtKeyUsageClientAuth) == nil {
		t.Error("verified through an expired intermediate")
	}
}

func TestPEM(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "root")
	middle, err := ca.IssueCA(apiservertest.Certificate{CommonName: "middle"})
	if err != nil {
		t.Fatal(err)
	}
	cert := middle.MustIssue(t, apiservertest.Certificate{CommonName: "jane"})
	pair, err := tls.X509KeyPair(apiservertest.CertPEM(cert), apiservertest.KeyPEM(cert))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pair.Certificate, cert.Certificate); diff != "" {
		t.Errorf("chain (-got+want):\n%s", diff)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.PEM()) || !pool.Equal(ca.Pool()) {
		t.Error("PEM and Pool differ")
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic on a key that has no form")
		}
	}()
	apiservertest.KeyPEM(tls.Certificate{PrivateKey: "no key"})
}
