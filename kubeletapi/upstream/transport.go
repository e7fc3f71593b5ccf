package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kubeletauth/kubeletapi/internal/reload"
)

// target takes the URL apart. The error does not repeat it: there may be a
// password in it.
func (cfg *Config) target() (scheme, host, socket string, err error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		u = new(url.URL)
	}
	if u.Scheme != "unix" && u.Path == "/" {
		u.Path = "" // as browsers write it
	}
	_, portErr := net.LookupPort("tcp", u.Port())
	isUnix := strings.HasPrefix(u.Path, "/") && *u == url.URL{Scheme: "unix", Path: u.Path, RawPath: u.RawPath}
	isHTTP := (*u == url.URL{Scheme: "http", Host: u.Host} || *u == url.URL{Scheme: "https", Host: u.Host}) && u.Hostname() != "" && portErr == nil
	isLocal := isUnix || u.Scheme == "http" && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback())
	switch {
	case !isUnix && !isHTTP:
		err = errors.New("--upstream: must be http://host:port, https://host:port or unix:///path/of.sock, and no more")
	case cfg.Protocol != "" && (cfg.Protocol != "h2c" || !isLocal):
		err = errors.New("--upstream-protocol: must be empty, or h2c with an http:// upstream on a loopback address or a unix:// one")
	case u.Scheme != "https" && cfg.CAFile+cfg.CertFile+cfg.KeyFile != "":
		err = errors.New("--upstream-ca-file, --upstream-cert-file, --upstream-key-file: are for an https:// upstream")
	case isUnix:
		return "http", "localhost", u.Path, nil
	}
	return u.Scheme, u.Host, "", err
}

// connections are those to the upstream, for as long as its files say the same.
type connections struct {
	plain, tunnel *http.Transport // HTTP/2 has no upgrades
}

func (cfg *Config) connections(read reload.ReadFunc, socket string) (connections, error) {
	config, err := cfg.tlsConfig(read)
	if err != nil {
		return connections{}, err
	}
	plain, tunnel := cfg.transport(config, socket), cfg.transport(config, socket)
	tunnel.Protocols.SetHTTP1(true)
	plain.Protocols.SetHTTP1(cfg.Protocol == "")
	plain.Protocols.SetHTTP2(cfg.Protocol == "")
	plain.Protocols.SetUnencryptedHTTP2(cfg.Protocol == "h2c")
	return connections{plain, tunnel}, nil
}

// transport returns one that speaks no protocol yet. It must not be cloned, which
// would settle that.
func (cfg *Config) transport(config *tls.Config, socket string) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if socket != "" {
				network, address = "unix", socket
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        config.Clone(),
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true, // the client's own wish counts
		MaxIdleConnsPerHost:    128,
		IdleConnTimeout:        30 * time.Second, // less than most servers keep a connection
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

func (c connections) roundTrip(r *http.Request) (*http.Response, error) {
	if r.Header["Upgrade"] != nil {
		return c.tunnel.RoundTrip(r)
	}
	return c.plain.RoundTrip(r)
}

func (cfg *Config) tlsConfig(read reload.ReadFunc) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		bundle, err := read(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--upstream-ca-file: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("--upstream-ca-file: there is no certificate in PEM form in %s", cfg.CAFile)
		}
	}
	if cfg.CertFile+cfg.KeyFile == "" {
		return config, nil
	}
	certificate, certErr := read(cfg.CertFile)
	key, keyErr := read(cfg.KeyFile)
	pair, err := tls.X509KeyPair(certificate, key)
	if err = cmp.Or(certErr, keyErr, err); err != nil {
		return nil, fmt.Errorf("--upstream-cert-file %q, --upstream-key-file %q: %w", cfg.CertFile, cfg.KeyFile, err)
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return config, nil
}
