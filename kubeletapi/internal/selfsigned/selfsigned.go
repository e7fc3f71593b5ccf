// Package selfsigned makes the serving certificate of a server that was given
// none.
package selfsigned

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	lifetime = 365 * 24 * time.Hour
	renewal  = 30 * 24 * time.Hour // before its end
	interval = time.Minute         // between looks at names and end
)

// Certificate is a self-signed serving certificate for a host name and for the
// addresses of this machine. A new one takes its place when it is about to
// expire, or when the machine has an address that it does not have. It is safe
// for concurrent use; its fields must not change once it is used.
type Certificate struct {
	// Host is the host name, or an IP address in its place.
	Host string
	// Dir is a folder to keep the certificate and its key in, as
	// kubeletauth.crt and kubeletauth.key. Empty: in memory only.
	Dir    string
	Logger *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	checked time.Time
}

// Get is the GetCertificate of a [tls.Config]. It fails if there is no
// certificate yet and none can be made or stored.
func (s *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && time.Since(s.checked) < interval {
		return s.current, nil
	}
	names, addresses := s.names()
	if s.current == nil && s.Dir != "" {
		if pair, err := tls.LoadX509KeyPair(s.files()); err == nil {
			s.current = &pair
		}
	}
	if s.current == nil || !fits(s.current.Leaf, names, addresses) {
		switch made, err := s.make(names, addresses); {
		case err == nil:
			s.current = made
		case s.current == nil:
			return nil, err
		default:
			s.Logger.Error("Cannot make a new serving certificate; the old one stays in use", "err", err)
		}
	}
	s.checked = time.Now()
	return s.current, nil
}

// names are what a client may call this node: its name, and the addresses of
// its interfaces that stay, this machine's own included.
func (s *Certificate) names() (names []string, addresses []net.IP) {
	if ip := net.ParseIP(s.Host); ip != nil {
		addresses = append(addresses, ip)
	} else {
		names = append(names, s.Host)
	}
	interfaces, _ := net.InterfaceAddrs() // without them, the name will have to do
	for _, a := range interfaces {
		if a, ok := a.(*net.IPNet); ok && (a.IP.IsGlobalUnicast() || a.IP.IsLoopback()) {
			addresses = append(addresses, a.IP)
		}
	}
	return names, addresses
}

func fits(leaf *x509.Certificate, names []string, addresses []net.IP) bool {
	if time.Until(leaf.NotAfter) < renewal || time.Now().Before(leaf.NotBefore) {
		return false
	}
	lacksName := func(name string) bool { return !slices.Contains(leaf.DNSNames, name) }
	lacksAddress := func(ip net.IP) bool { return !slices.ContainsFunc(leaf.IPAddresses, ip.Equal) }
	return !slices.ContainsFunc(names, lacksName) && !slices.ContainsFunc(addresses, lacksAddress)
}

func (s *Certificate) files() (certificate, key string) {
	return filepath.Join(s.Dir, "kubeletauth.crt"), filepath.Join(s.Dir, "kubeletauth.key")
}

func (s *Certificate) make(names []string, addresses []net.IP) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%d", s.Host, now.Unix())},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              names,
		IPAddresses:           addresses,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	if err := s.store(certPEM, keyPEM); err != nil {
		return nil, err
	}
	s.Logger.Info("Made a self-signed serving certificate", "names", names, "addresses", addresses, "notAfter", template.NotAfter, "sha256", fmt.Sprintf("%x", sha256.Sum256(der)))
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	return &pair, err
}

// store writes the key first: a pair that does not match, because this was
// interrupted, is made anew.
func (s *Certificate) store(certPEM, keyPEM []byte) error {
	if s.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	certificate, key := s.files()
	if err := replaceFile(key, keyPEM, 0o600); err != nil {
		return err
	}
	return replaceFile(certificate, certPEM, 0o644)
}

// replaceFile replaces a file in one step.
func replaceFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".kubeletauth-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = cmp.Or(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
