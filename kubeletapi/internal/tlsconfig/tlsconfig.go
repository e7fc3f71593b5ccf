// Package tlsconfig makes the TLS configuration of a server like the kubelet: from
// the kubelet's flags, for one connection after the other, and with bundles of
// authorities that change.
package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
)

// New returns the part of a TLS configuration that never changes, from the values
// of the flags; an error names the flag of a value that cannot be used. HTTP/2 is
// named here, so that a copy for one connection keeps it.
func New(minVersion string, cipherSuiteNames []string, curves []int) (*tls.Config, error) {
	version, err := tlsVersion(minVersion)
	if err != nil {
		return nil, fmt.Errorf("--tls-min-version: %w", err)
	}
	suites, err := cipherSuites(cipherSuiteNames)
	if err != nil {
		return nil, fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	ids, err := curvePreferences(curves)
	if err != nil {
		return nil, fmt.Errorf("tlsCurvePreferences: %w", err)
	}
	return &tls.Config{MinVersion: version, CipherSuites: suites, CurvePreferences: ids, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// tlsVersion is TLSVersion of k8s.io/component-base cli/flag.
func tlsVersion(name string) (uint16, error) {
	versions := map[string]uint16{"": tls.VersionTLS12, "VersionTLS10": tls.VersionTLS10, "VersionTLS11": tls.VersionTLS11, "VersionTLS12": tls.VersionTLS12, "VersionTLS13": tls.VersionTLS13}
	if version, ok := versions[name]; ok {
		return version, nil
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
			return nil, fmt.Errorf("curve preference %d is not supported by the current Go version", n)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// PerConnection returns what a listener needs of config, whose settings come
// into force with each connection: net/http, which would refuse to speak
// HTTP/2 with fewer cipher suites than it likes, does not see them.
//
// With roots, a client is asked for a certificate of one of those in force. The
// handshake verifies none: the filter does, for each request, and so must not
// meet a session that was agreed on before the roots changed.
func PerConnection(config *tls.Config, roots func() *x509.CertPool) *tls.Config {
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
