package apiservertest

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// CA is a certificate authority with an ECDSA P-256 key, all of it in memory.
// Make one with [NewCA] or [CA.IssueCA]; it does not change afterwards and is
// safe for concurrent use. The zero CA cannot be used.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	// path leads from this authority, inclusive, to its root, exclusive: what
	// a holder of its certificates has to send along.
	path [][]byte
}

// Certificate says what a certificate shall contain. The zero value is a
// client certificate without any name, valid from an hour ago until a day from now.
type Certificate struct {
	CommonName    string
	Organizations []string // one attribute each, in this order
	UIDs          []string // attributes 1.3.6.1.4.1.57683.2, which Kubernetes takes for the user's UID
	DNSNames      []string
	IPs           []net.IP

	// ExtraNames follow the names above in the subject as they are. Values
	// that are not strings are an error.
	ExtraNames []pkix.AttributeTypeAndValue

	// Usages are the extended key usages. Nil means client authentication for
	// [CA.Issue] and no restriction for [CA.IssueCA]; empty means that the
	// certificate has no such extension.
	Usages []x509.ExtKeyUsage

	NotBefore time.Time // zero: an hour ago
	NotAfter  time.Time // zero: 24 hours from now for [CA.Issue], ten years for [CA.IssueCA]

	SerialNumber *big.Int // nil: random
	SubjectKeyID []byte   // nil: none for [CA.Issue], a hash of the key for [CA.IssueCA]

	// Modify, unless nil, has the last word on the template that is signed,
	// for whatever the fields above cannot say.
	Modify func(template *x509.Certificate)
}

// NewCA makes a self-signed authority that is valid for ten years. It fails
// only for a name that no certificate can hold.
func NewCA(name string) (*CA, error) {
	return (*CA)(nil).IssueCA(Certificate{CommonName: name})
}

// Issue makes a key and a certificate for it. The result carries the
// intermediate certificates that lead to the root, and its Leaf is set. It
// fails if c cannot be encoded, such as a name that is not UTF-8.
func (ca *CA) Issue(c Certificate) (tls.Certificate, error) {
	if c.Usages == nil {
		c.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	template := c.template(24 * time.Hour)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	leaf, key, err := ca.sign(c, template)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing certificate %q: %w", c.CommonName, err)
	}
	return tls.Certificate{Certificate: append([][]byte{leaf.Raw}, ca.path...), PrivateKey: key, Leaf: leaf}, nil
}

// IssueCA makes an intermediate authority, which can issue in its turn.
func (ca *CA) IssueCA(c Certificate) (*CA, error) {
	template := c.template(10 * 365 * 24 * time.Hour)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, key, err := ca.sign(c, template)
	if err != nil {
		return nil, fmt.Errorf("issuing CA certificate %q: %w", c.CommonName, err)
	}
	if ca == nil {
		return &CA{cert: cert, key: key}, nil
	}
	return &CA{cert: cert, key: key, path: append([][]byte{cert.Raw}, ca.path...)}, nil
}

// sign makes a key, and a certificate for it. A nil ca signs with the new key.
func (ca *CA) sign(c Certificate, template *x509.Certificate) (*x509.Certificate, crypto.Signer, error) {
	if c.Modify != nil {
		c.Modify(template)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	parent, signer := template, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func (c Certificate) template(lifetime time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:      pkix.Name{CommonName: c.CommonName, ExtraNames: c.extraNames()},
		DNSNames:     c.DNSNames,
		IPAddresses:  c.IPs,
		ExtKeyUsage:  c.Usages,
		NotBefore:    cmp.Or(c.NotBefore, now.Add(-time.Hour)),
		NotAfter:     cmp.Or(c.NotAfter, now.Add(lifetime)),
		SerialNumber: c.SerialNumber,
		SubjectKeyId: c.SubjectKeyID,
	}
}

// extraNames holds the organizations too: package pkix would put them into one
// set, which DER sorts, and their order is the order of the user's groups.
func (c Certificate) extraNames() []pkix.AttributeTypeAndValue {
	var names []pkix.AttributeTypeAndValue
	for _, o := range c.Organizations {
		names = append(names, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: o})
	}
	for _, uid := range c.UIDs {
		names = append(names, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: uid})
	}
	return append(names, c.ExtraNames...)
}

// PEM returns the authority's own certificate, without those above it.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Pool returns a new pool with the authority's own certificate in it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// CertPEM returns all certificates of c, leaf first.
func CertPEM(c tls.Certificate) []byte {
	var all []byte
	for _, der := range c.Certificate {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return all
}

// KeyPEM returns the private key of c in PKCS #8. It panics on a key that
// crypto/x509 cannot encode; those from [CA.Issue] are none of them.
func KeyPEM(c tls.Certificate) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
