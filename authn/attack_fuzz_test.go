package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// Of a certificate that crypto/x509 can read, the user has the name and the
// groups of its subject and no other, there is none without a name, and none
// whom the roots do not vouch for.
func FuzzCertificate(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	uid := func(value any) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: value}
	}
	for _, name := range []pkix.Name{
		{CommonName: "ann"}, {CommonName: "ann", Organization: []string{"a", "", "b\n"}}, {Organization: []string{"a"}},
		{CommonName: "a\x00b", ExtraNames: []pkix.AttributeTypeAndValue{uid("7")}}, {CommonName: "x", ExtraNames: []pkix.AttributeTypeAndValue{uid("7"), uid("")}},
	} {
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: name, NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(100, 0, 0), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if u, _, err := VerifyCertificate(x509.NewCertPool(), []*x509.Certificate{leaf, leaf}); u != nil || err == nil {
			t.Fatalf("%v without a root, %v", u, err)
		}
		itself := x509.NewCertPool()
		itself.AddCert(leaf)
		u, notAfter, err := VerifyCertificate(itself, []*x509.Certificate{leaf})
		if err != nil {
			if u != nil || !IsRefusal(err) {
				t.Fatalf("%v beside %v", u, err)
			}
			return
		}
		if (u == nil) != (leaf.Subject.CommonName == "") || !notAfter.Equal(time.Time{}) && !notAfter.Equal(leaf.NotAfter) {
			t.Fatalf("%v until %v, of %v until %v", u, notAfter, leaf.Subject, leaf.NotAfter)
		}
		if u != nil && (u.Username != leaf.Subject.CommonName || !slices.Equal(u.Groups, leaf.Subject.Organization) || len(u.Extra) != 1 || time.Now().After(notAfter)) {
			t.Fatalf("%+v, of %v until %v", u, leaf.Subject, notAfter)
		}
	})
}

// A token that is to be reviewed is one word of at most 16 KiB; and whatever its
// claims are, only one that ended is refused for them.
func FuzzToken(f *testing.F) {
	for _, token := range []string{"", "tok", "a.b.c", "e30.eyJleHAiOjF9.x", "e30.eyJleHAiOi0xZTk5OX0.x", "e30.eyJleHAiOiIxIn0.x", "e30.eyJFeHAiOjFlMzB9.x", "a b", "a\u00a0b", "a\x7f", "..", strings.Repeat("x", maxTokenBytes+1)} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		exp, ok := TokenExpiry(token)
		if ok && (exp.Unix() < 0 || exp.Year() > 36900 || strings.Count(token, ".") != 2) {
			t.Fatalf("%q ends at %v", token, exp)
		}
		err := refuseUnreviewed(token)
		word := len(token) <= maxTokenBytes && len(strings.FieldsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })) <= 1 &&
			strings.TrimFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) == token
		ended := ok && time.Since(exp) > expiredTokenGrace
		if (err == nil) != (word && !ended) {
			t.Fatalf("%q, which ends at %v: %v", token, exp, err)
		}
		if err != nil && (len(token) > 8 && strings.Contains(err.Error(), token) || !IsRefusal(err)) {
			t.Fatalf("%q: the error is %v", token, err)
		}
	})
}
