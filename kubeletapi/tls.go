package kubeletapi

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"

	"kubeletauth/kubeletapi/internal/reload"
	"kubeletauth/kubeletapi/internal/selfsigned"
	"kubeletauth/kubeletapi/internal/tlsconfig"
)

// newClientCA reads a bundle of certificate authorities and keeps it up to date
// (DynamicFileCAContent of k8s.io/apiserver pkg/server/dynamiccertificates).
func newClientCA(path string, report func(error)) (*reload.Value[*tlsconfig.Bundle], error) {
	name := fmt.Sprintf("%q", "client-ca-bundle::"+path)
	return reload.New(func(read reload.ReadFunc) (ca *tlsconfig.Bundle, err error) {
		content, err := read(path)
		if err != nil {
			return ca, err
		}
		if len(content) == 0 {
			return ca, fmt.Errorf("missing content for CA bundle %s: the file is empty", name)
		}
		if ca, err = tlsconfig.ParseBundle(content); err != nil {
			return ca, fmt.Errorf("error loading CA bundle for %s: %w", name, err)
		}
		return ca, nil
	}, report)
}

// servingCertificate returns the source of the serving certificate.
func (cfg *Config) servingCertificate(name string, m *metrics) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if cfg.TLSCertFile == "" && cfg.TLSPrivateKeyFile == "" {
		made := &selfsigned.Certificate{Host: name, Dir: cfg.CertDir, Logger: cfg.logger()}
		if _, err := made.Get(nil); err != nil {
			return nil, fmt.Errorf("making a serving certificate for %s (--hostname-override, --cert-dir): %w", name, err)
		}
		return made.Get, nil
	}
	if cfg.TLSCertFile == "" || cfg.TLSPrivateKeyFile == "" {
		return nil, errors.New("--tls-cert-file and --tls-private-key-file go together: give both, or neither for a certificate that is made")
	}
	pair, err := reload.New(cfg.readPair, cfg.reportReload(m, "tls-cert-file"))
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil }, nil
}

func (cfg *Config) readPair(read reload.ReadFunc) (*tls.Certificate, error) {
	certificate, certErr := read(cfg.TLSCertFile)
	key, keyErr := read(cfg.TLSPrivateKeyFile)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		err = cmp.Or(certErr, keyErr, fmt.Errorf("%s and %s: %w", cfg.TLSCertFile, cfg.TLSPrivateKeyFile, err))
	}
	return &pair, err
}
