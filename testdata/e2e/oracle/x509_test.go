package oracle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"

	kubernetesx509 "k8s.io/apiserver/pkg/authentication/request/x509"

	"kubeletauth/authn"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestX509 compares who a client certificate belongs to, with the reason if it belongs to nobody: certificates of all
// kinds, with any others behind them, and any of them in the bundle.
func TestX509(t *testing.T) {
	s := generate.New(t)
	p := newCertificates(t, s)
	run(t, 30_000, func() string {
		roots := x509.NewCertPool()
		for range s.Upto(3) {
			roots.AddCert(p.any(s))
		}
		chain := []*x509.Certificate{p.any(s)}
		for range generate.Pick(s, 0, 0, 1, 2, 3) {
			chain = append(chain, p.any(s))
		}
		r := &http.Request{Header: http.Header{}, URL: new(url.URL), TLS: &tls.ConnectionState{PeerCertificates: chain}}
		kubernetes := kubernetesx509.NewDynamic(func() (x509.VerifyOptions, bool) {
			return x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true
		}, kubernetesx509.CommonNameUserConversion)
		ours := authn.X509{Roots: func() *x509.CertPool { return roots }}
		return answerDiff(withoutTime(kubernetesAnswer(kubernetes, r)), withoutTime(ourAnswer(ours, r)))
	})
}

var currentTime = regexp.MustCompile(`current time [^ ]+`)

// withoutTime leaves the time out of an error: the second may change between two questions.
func withoutTime(a answer) answer {
	a.Error = currentTime.ReplaceAllString(a.Error, "now")
	return a
}

// certificates are authorities and what they signed. All have the same key.
type certificates struct {
	key         *ecdsa.PrivateKey
	serial      int64
	authorities []*x509.Certificate
	leaves      []*x509.Certificate
}

// newCertificates makes roots, intermediates of different kinds, and leaves of each of them.
func newCertificates(t *testing.T, s *generate.Source) *certificates {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &certificates{key: key}
	for _, name := range []string{"root", "root", "other root"} {
		p.authorities = append(p.authorities, p.sign(t, authority(name), nil))
	}
	for range 12 {
		template := authority(generate.Pick(s, "intermediate", "root"))
		p.vary(s, template)
		p.authorities = append(p.authorities, p.sign(t, template, generate.Pick(s, p.authorities...)))
	}
	for range 300 {
		p.leaves = append(p.leaves, p.sign(t, p.leaf(s), generate.Pick(s, p.authorities...)))
	}
	return p
}

// any is a leaf or, now and then, an authority.
func (p *certificates) any(s *generate.Source) *x509.Certificate {
	if s.Chance(2) {
		return generate.Pick(s, p.authorities...)
	}
	return generate.Pick(s, p.leaves...)
}

// authority is the template of an authority.
func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// leaf is the template of a leaf with any subject.
func (p *certificates) leaf(s *generate.Source) *x509.Certificate {
	template := &x509.Certificate{
		Subject: pkix.Name{
			CommonName:   generate.Pick(s, "jane", "jane", " Jane ", "", "system:node:n", "jäne"),
			Organization: generate.List(s, 3, func() string { return generate.Pick(s, "dev", "system:masters", "dev", "ö", "system:authenticated") }),
		},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	for range generate.Pick(s, 0, 0, 1, 2) {
		template.Subject.ExtraNames = append(template.Subject.ExtraNames, pkix.AttributeTypeAndValue{
			Type:  asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, generate.Pick(s, 2, 2, 2, 3)},
			Value: generate.Pick(s, "uid", "other", "", "ü"),
		})
	}
	p.vary(s, template)
	return template
}

// vary may change what a certificate may be used for, and when.
func (p *certificates) vary(s *generate.Source, template *x509.Certificate) {
	switch s.IntN(12) {
	case 0:
		template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	case 1:
		template.NotBefore, template.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	case 2:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case 3:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	case 4:
		template.ExtKeyUsage = nil
	case 5:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	case 6:
		template.MaxPathLenZero = template.IsCA
	case 7:
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}}
	case 8:
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	case 9:
		template.SubjectKeyId = []byte{1, 2, 255}
	}
}

// sign makes a certificate; without a parent it signs itself.
func (p *certificates) sign(t *testing.T, template, parent *x509.Certificate) *x509.Certificate {
	t.Helper()
	p.serial++
	template.SerialNumber = new(big.Int).Lsh(big.NewInt(p.serial), uint(p.serial%100))
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, p.key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
