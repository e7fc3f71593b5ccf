package kubeletapi

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"kubeletauth/kubeletapi/internal/reload"
	"kubeletauth/kubeletapi/internal/selfsigned"
)

// tlsConfig is the part of the TLS configuration that never changes, with a
// clear error for what cannot be used. HTTP/2 is named here, so that a copy
// for one connection keeps it.
func (cfg *Config) tlsConfig() (*tls.Config, error) {
	version, err := tlsVersion(cfg.TLSMinVersion)
	if err != nil {
		return nil, fmt.Errorf("--tls-min-version: %w", err)
	}
	suites, err := cipherSuites(cfg.TLSCipherSuites)
	if err != nil {
		return nil, fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	curves, err := curvePreferences(cfg.TLSCurvePreferences)
	if err != nil {
		return nil, fmt.Errorf("tlsCurvePreferences: %w", err)
	}
	return &tls.Config{MinVersion: version, CipherSuites: suites, CurvePreferences: curves, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// tlsVersion is TLSVersion of k8s.io/component-base cli/flag.
func tlsVersion(name string) (uint16, error) {
	switch name {
	case "VersionTLS10":
		return tls.VersionTLS10, nil
	case "VersionTLS11":
		return tls.VersionTLS11, nil
	case "VersionTLS12", "":
		return tls.VersionTLS12, nil
	case "VersionTLS13":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("unknown tls version %q (want VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13)", name)
}

// cipherSuites is TLSCipherSuites of k8s.io/component-base cli/flag, which
// knows the two ChaCha20 suites by an older name too.
func cipherSuites(names []string) ([]uint16, error) {
	known := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	var ids []uint16
	for _, name := range names {
		current := name
		if strings.HasSuffix(name, "_WITH_CHACHA20_POLY1305") {
			current += "_SHA256"
		}
		i := slices.IndexFunc(known, func(suite *tls.CipherSuite) bool { return suite.Name == current })
		if i < 0 {
			//lint:ignore ST1005 the kubelet's own words
			return nil, fmt.Errorf("Cipher suite %s not supported or doesn't exist (want a name such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)", name)
		}
		ids = append(ids, known[i].ID)
	}
	return ids, nil
}

// curvePreferences is TLSCurvePreferences of k8s.io/component-base cli/flag.
func curvePreferences(numbers []int) ([]tls.CurveID, error) {
	var ids []tls.CurveID
	for _, n := range numbers {
		id := tls.CurveID(n)
		switch {
		case n <= 0 || n > math.MaxUint16:
			return nil, fmt.Errorf("curve preference %d is out of range (must be 1-65535)", n)
		case slices.Contains(ids, id):
			return nil, fmt.Errorf("duplicate curve preference %d", n)
		case strings.HasPrefix(id.String(), "CurveID("):
			return nil, fmt.Errorf("curve preference %d is not supported by this program", n)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// newClientCA reads a bundle of certificate authorities and keeps it up to date
// (DynamicFileCAContent of k8s.io/apiserver pkg/server/dynamiccertificates).
func newClientCA(path string, report func(error)) (*reload.Value[clientCA], error) {
	name := fmt.Sprintf("%q", "client-ca-bundle::"+path)
	return reload.New(func(read reload.ReadFunc) (ca clientCA, err error) {
		content, err := read(path)
		if err != nil {
			return ca, err
		}
		if len(content) == 0 {
			return ca, fmt.Errorf("missing content for CA bundle %s: the file is empty", name)
		}
		if ca, err = parseBundle(content); err != nil {
			return ca, fmt.Errorf("error loading CA bundle for %s: %w", name, err)
		}
		return ca, nil
	}, report)
}

const beginCertificate = "-----BEGIN CERTIFICATE-----"

// clientCA is a bundle of authorities, and when the first of them expires.
type clientCA struct {
	roots   *x509.CertPool
	expires time.Time
}

// parseBundle is ParseCertsPEM of k8s.io/client-go util/cert: blocks of another
// type, or with headers, do not count. A bundle that ends within a certificate is
// refused, for it is still being written; one that ends between two is taken.
func parseBundle(content []byte) (clientCA, error) {
	ca, found := clientCA{roots: x509.NewCertPool()}, false
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return clientCA{}, err
		}
		ca.roots.AddCert(certificate)
		if !found || certificate.NotAfter.Before(ca.expires) {
			ca.expires = certificate.NotAfter
		}
		found = true
	}
	last := content[bytes.LastIndexByte(content, '\n')+1:]
	if bytes.Contains(content, []byte(beginCertificate)) || len(last) > 0 && strings.HasPrefix(beginCertificate, string(last)) {
		return clientCA{}, errors.New("its last certificate is cut off")
	}
	if !found {
		return clientCA{}, errors.New("data does not contain any valid RSA or ECDSA certificates (want PEM with CERTIFICATE blocks)")
	}
	return ca, nil
}

// perConnection returns what a listener needs of config, whose settings come
// into force with each connection: net/http, which would refuse to speak
// HTTP/2 with fewer cipher suites than it likes, does not see them.
//
// With roots, a client is asked for a certificate of one of those in force. The
// handshake verifies none: the filter does, for each request, and so must not
// meet a session that was agreed on before the roots changed.
func perConnection(config *tls.Config, roots func() *x509.CertPool) *tls.Config {
	if roots == nil {
		roots = func() *x509.CertPool { return nil }
	} else {
		config.ClientAuth = tls.RequestClientCert
		config.SessionTicketsDisabled = true
	}
	onlyOld := !speaksHTTP2(config.CipherSuites)
	var current atomic.Pointer[tls.Config]
	return &tls.Config{
		NextProtos:     config.NextProtos,
		GetCertificate: config.GetCertificate,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, pool := current.Load(), roots()
			if c == nil || c.ClientCAs != pool {
				c = config.Clone()
				c.ClientCAs = pool
				current.Store(c)
			}
			if onlyOld && !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
				c = c.Clone()
				c.NextProtos = []string{"http/1.1"}
			}
			return c, nil
		},
	}
}

// speaksHTTP2 reports whether TLS 1.2 with one of these cipher suites is good
// enough for HTTP/2 (RFC 9113, section 9.2.2). None stands for Go's.
func speaksHTTP2(suites []uint16) bool {
	return len(suites) == 0 || slices.ContainsFunc(suites, func(id uint16) bool {
		name := tls.CipherSuiteName(id)
		return strings.HasPrefix(name, "TLS_ECDHE_") && (strings.Contains(name, "_GCM_") || strings.Contains(name, "_CHACHA20_"))
	})
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
	pair, err := reload.New(func(read reload.ReadFunc) (*tls.Certificate, error) {
		return readPair(read, cfg.TLSCertFile, cfg.TLSPrivateKeyFile)
	}, cfg.reportReload(m, "tls-cert-file"))
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil }, nil
}

func readPair(read reload.ReadFunc, certFile, keyFile string) (*tls.Certificate, error) {
	certificate, err := read(certFile)
	if err != nil {
		return nil, err
	}
	key, err := read(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	return &pair, nil
}

// chainEnd is when the first certificate of a serving chain expires.
func chainEnd(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) (end time.Time) {
	pair, err := get(nil)
	if err != nil { // none could ever be made
		return end
	}
	for _, der := range pair.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil && (end.IsZero() || c.NotAfter.Before(end)) {
			end = c.NotAfter
		}
	}
	return end
}
