package tlsconfig

import (
	"bytes"
	"testing"

	"kubeletauth/kubeletapi/apiservertest"
)

// However much of a bundle is written, it is taken over only where a certificate
// ends.
func TestHalfWrittenBundle(t *testing.T) {
	first, second := apiservertest.MustNewCA(t, "1").PEM(), apiservertest.MustNewCA(t, "2").PEM()
	both := append(bytes.Clone(first), second...)
	for n := range both {
		bundle, err := ParseBundle(both[:n])
		whole := n == len(first) || n == len(first)-1 || n == len(both)-1
		if (err == nil) != whole {
			t.Errorf("%d of %d bytes, of which the first certificate has %d: %v", n, len(both), len(first), err)
		}
		if err != nil && bundle != nil {
			t.Error("an error, and a bundle")
		}
	}
	for text, ok := range map[string]bool{"# a comment\n": true, "no new line": true, "-": false, "-----BEGIN CERTIFICATE-----": false, "-----BEGIN CERTIFICATE-----\nAAAA\n": false, "- one\n": true} {
		if _, err := ParseBundle(append(bytes.Clone(first), text...)); (err == nil) != ok {
			t.Errorf("%q after a certificate: %v", text, err)
		}
	}
}
