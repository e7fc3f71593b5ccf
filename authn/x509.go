package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// X509 authenticates TLS client certificates (k8s.io/apiserver
// pkg/authentication/request/x509/x509.go).
//
// A certificate is accepted if it chains to one of Roots, is within its
// validity now, and is usable for client authentication; certificates that
// the client sent behind it serve as intermediates. The user name is the
// common name of the subject as it stands, the groups are its organizations in
// order, the UID is its attribute 1.3.6.1.4.1.57683.2. The system's roots are
// never used, and nothing is looked up elsewhere: there is no check for
// revocation.
//
// No certificate, or an accepted one without a common name, is no opinion.
// The TLS layer is expected to request a certificate but not to verify it
// ([crypto/tls.RequestClientCert]), and has proven possession of the key.
type X509 struct {
	// Roots returns the certificate authorities in force now. It is called
	// for every certificate. Nil, or a nil answer: no opinion on anyone.
	Roots func() *x509.CertPool
}

// AuthenticateRequest authenticates the certificate that r's connection was
// opened with.
func (a X509) AuthenticateRequest(r *http.Request) (*UserInfo, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || a.Roots == nil {
		return nil, false, nil
	}
	u, _, err := VerifyCertificate(a.Roots(), r.TLS.PeerCertificates)
	return u, u != nil, err
}

// VerifyCertificate is the rule of [X509] for one chain, leaf first: it returns
// the user, and when the earliest certificate of the verified chain expires.
// A nil user without an error is no opinion, as without roots, and an error is an
// [*InvalidCertificateError]. It panics on an empty chain.
func VerifyCertificate(roots *x509.CertPool, chain []*x509.Certificate) (u *UserInfo, notAfter time.Time, err error) {
	if roots == nil { // which x509 takes for the system's
		return nil, time.Time{}, nil
	}
	leaf := chain[0]
	options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(chain) > 1 {
		options.Intermediates = x509.NewCertPool()
		for _, c := range chain[1:] {
			options.Intermediates.AddCert(c)
		}
	}
	verified, err := leaf.Verify(options)
	if err != nil {
		return nil, time.Time{}, &InvalidCertificateError{fmt.Errorf("verifying certificate SN=%s, SKID=%s, AKID=%s failed: %w",
			shortSerial(leaf), colonHex(leaf.SubjectKeyId), colonHex(leaf.AuthorityKeyId), err)}
	}
	if u, err = certificateUser(leaf); err != nil {
		return nil, time.Time{}, &InvalidCertificateError{err}
	}
	first := slices.MinFunc(verified[0], func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	return u, first.NotAfter, nil
}

// InvalidCertificateError is the refusal of a certificate.
type InvalidCertificateError struct {
	Err error // the serial number and key ids, and Go's reason
}

func (e *InvalidCertificateError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *InvalidCertificateError) Unwrap() error { return e.Err }

// shortSerial prints no serial number that a stranger made to be slow to print;
// a real one has at most 160 bits.
func shortSerial(leaf *x509.Certificate) string {
	if leaf.SerialNumber.BitLen() > 512 {
		return "(over 512 bits)"
	}
	return leaf.SerialNumber.String()
}

func colonHex(id []byte) string {
	if len(id) > 64 {
		return "(over 64 bytes)"
	}
	return strings.ReplaceAll(fmt.Sprintf("% X", id), " ", ":")
}

// certificateUser is CommonNameUserConversion of x509.go.
func certificateUser(leaf *x509.Certificate) (*UserInfo, error) {
	if leaf.Subject.CommonName == "" {
		return nil, nil
	}
	uid, err := certificateUID(leaf)
	if err != nil {
		return nil, err
	}
	return &UserInfo{
		Username: leaf.Subject.CommonName,
		UID:      uid,
		Groups:   leaf.Subject.Organization,
		Extra:    map[string][]string{ExtraCredentialID: {fmt.Sprintf("X509SHA256=%x", sha256.Sum256(leaf.Raw))}},
	}, nil
}

// certificateUID is parseUIDFromCert of x509.go; the attribute's OID is from
// k8s.io/apimachinery pkg/apis/asn1.
func certificateUID(leaf *x509.Certificate) (string, error) {
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}
	var uids []string
	for _, attribute := range leaf.Subject.Names {
		if !attribute.Type.Equal(oid) {
			continue
		}
		uid, ok := attribute.Value.(string)
		if !ok {
			return "", errors.New("unable to parse UID into a string")
		}
		uids = append(uids, uid)
	}
	switch {
	case len(uids) == 0:
		return "", nil
	case len(uids) > 1:
		return "", fmt.Errorf("expected 1 UID, but found multiple: %v", uids)
	case uids[0] == "":
		return "", errors.New("UID cannot be an empty string")
	}
	return uids[0], nil
}
