package oracle

import (
	"crypto/x509"
	"encoding/pem"
)

// certificatePEM is a certificate as a kubeconfig holds it: PEM, which JSON encodes once more in base64.
func certificatePEM(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}
