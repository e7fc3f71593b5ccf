package kubeclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"sync/atomic"
	"time"
)

const (
	handshakeTimeout = 10 * time.Second
	// idleTimeout keeps a connection warm from one renewal of a cached
	// answer to the next.
	idleTimeout = 5 * time.Minute
	maxIdle     = 25
	// A connection is pinged when nothing came for pingAfter, and lost without an
	// answer. That is known before a review ends, which is then tried again on
	// another connection; a server that is slow answers pings all the same.
	pingAfter   = 4 * time.Second
	pingTimeout = 4 * time.Second

	maxHeaderBytes = 64 << 10
)

// endpoint is all that makes a connection what it is.
type endpoint struct {
	host               string
	serverName         string
	insecure           bool
	ca                 []byte // of pemSource.authorities; empty for the system's roots
	certificate, key   []byte // PEM; empty for none
	proxy              *url.URL
	disableCompression bool
}

// connection leads to one endpoint.
type connection struct {
	endpoint
	tls     *tls.Config
	pool    atomic.Pointer[pool]
	retired atomic.Bool
}

// connect returns old if it leads to the same endpoint, and otherwise a new
// connection for which old is retired.
func connect(to endpoint, old *connection) (*connection, error) {
	if old != nil && reflect.DeepEqual(old.endpoint, to) {
		return old, nil
	}
	config, err := to.tlsConfig()
	if err != nil {
		return nil, err
	}
	c := &connection{endpoint: to, tls: config}
	c.pool.Store(c.newPool())
	if old != nil {
		old.retire()
	}
	return c, nil
}

// retire closes the network connections that are idle now, and all when none is
// in use.
func (c *connection) retire() {
	c.retired.Store(true)
	c.pool.Load().leave()
}

// use returns the transport for one request, and what to call after it: done
// leaves a connection that is retired, and one that stayed silent.
func (c *connection) use() (transport *http.Transport, done func(silent bool)) {
	p := c.pool.Load()
	if !p.enter() { // whoever still has a session that was left gets a pool for this request
		p = c.newPool()
		p.users, p.left = 1, true
	}
	return p.Transport, func(silent bool) {
		if silent && c.pool.CompareAndSwap(p, c.newPool()) {
			p.leave()
			if c.retired.Load() {
				c.retire()
			}
		}
		p.exit()
	}
}

func (c *connection) newPool() *pool {
	p := &pool{Transport: c.newTransport(), open: map[*line]bool{}}
	p.DialContext = p.dial
	return p
}

// newTransport follows k8s.io/client-go transport/cache.go and
// k8s.io/apimachinery pkg/util/net/http.go, except for its shorter times.
func (c *connection) newTransport() *http.Transport {
	proxy := http.ProxyFromEnvironment
	if c.proxy != nil {
		proxy = http.ProxyURL(c.proxy)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(os.Getenv("DISABLE_HTTP2") == "")
	return &http.Transport{
		Proxy:                  proxy,
		OnProxyConnectResponse: tunnelled,
		TLSClientConfig:        c.tls.Clone(), // which the transport changes
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     c.disableCompression,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              &protocols,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// tunnelled keeps to itself what a proxy says, who may repeat the password that it
// was sent.
func tunnelled(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("the proxy answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
}

// tlsConfig follows TLSConfigFor in k8s.io/client-go transport/transport.go. The
// certificate is sent to whatever authorities the server names.
func (to *endpoint) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: to.serverName, InsecureSkipVerify: to.insecure}
	if len(to.ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(to.ca)
	}
	if len(to.certificate) > 0 {
		pair, err := tls.X509KeyPair(to.certificate, to.key)
		if err != nil {
			return nil, fmt.Errorf("client-certificate and client-key: %s", oneLine(err.Error()))
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}
