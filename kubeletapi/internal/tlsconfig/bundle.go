package tlsconfig

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"time"
	"weak"
)

const beginCertificate = "-----BEGIN CERTIFICATE-----"

// Bundle is a bundle of authorities, and when the first of them expires. Whoever
// only has to know whether Roots are still the same keeps Name, which does not keep
// them, and is no other Roots' name even when they are gone.
type Bundle struct {
	Roots   *x509.CertPool
	Name    weak.Pointer[x509.CertPool]
	Expires time.Time
}

// NewBundle names roots.
func NewBundle(roots *x509.CertPool) *Bundle {
	return &Bundle{Roots: roots, Name: weak.Make(roots)}
}

// ParseBundle is ParseCertsPEM of k8s.io/client-go util/cert: blocks of another
// type, or with headers, do not count. A bundle that ends within a certificate is
// refused, for it is still being written; one that ends between two is taken.
func ParseBundle(content []byte) (*Bundle, error) {
	ca, found := NewBundle(x509.NewCertPool()), false
	block, content := pem.Decode(content)
	for ; block != nil; block, content = pem.Decode(content) {
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		ca.Roots.AddCert(certificate)
		if !found || certificate.NotAfter.Before(ca.Expires) {
			ca.Expires = certificate.NotAfter
		}
		found = true
	}
	last := content[bytes.LastIndexByte(content, '\n')+1:]
	if bytes.Contains(content, []byte(beginCertificate)) || len(last) > 0 && strings.HasPrefix(beginCertificate, string(last)) {
		return nil, errors.New("its last certificate is cut off")
	}
	if !found {
		return nil, errors.New("data does not contain any valid RSA or ECDSA certificates (want PEM with CERTIFICATE blocks)")
	}
	return ca, nil
}

// ChainEnd is when the first certificate of a chain expires. Those that cannot be
// read do not count.
func ChainEnd(chain [][]byte) (end time.Time) {
	for _, der := range chain {
		if c, err := x509.ParseCertificate(der); err == nil && (end.IsZero() || c.NotAfter.Before(end)) {
			end = c.NotAfter
		}
	}
	return end
}
