// Bare is a server as net/http makes one, with TLS and nothing in front of its
// handler: what a filter costs is measured against it. Its handler is the node
// API that is behind the filter of cmd/server; with -upstream, a reverse proxy.
// With -limits it has the time limits of kubeletapi.Server.
package main

import (
	"crypto/tls"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"kubeletauth/kubeletapi/node"
)

func main() {
	address := flag.String("address", "127.0.0.1", "where to listen")
	port := flag.String("port", "10250", "port to listen on")
	certFile := flag.String("tls-cert-file", "", "serving certificate")
	keyFile := flag.String("tls-private-key-file", "", "its key")
	upstream := flag.String("upstream", "", "URL of a server to pass requests on to")
	limits := flag.Bool("limits", false, "set time limits")
	flag.Parse()
	handler := node.API{}.Handler()
	if *upstream != "" {
		u, err := url.Parse(*upstream)
		if err != nil {
			log.Fatal(err)
		}
		handler = proxy(u)
	}
	server := &http.Server{Addr: net.JoinHostPort(*address, *port), Handler: handler, TLSConfig: &tls.Config{ClientAuth: tls.RequestClientCert}}
	if *limits {
		server.ReadHeaderTimeout, server.ReadTimeout = 10*time.Second, time.Minute
		server.WriteTimeout, server.IdleTimeout = 4*time.Hour, 90*time.Second
	}
	log.Fatal(server.ListenAndServeTLS(*certFile, *keyFile))
}

// proxy is one that keeps its connections and its buffers.
func proxy(u *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
		BufferPool: &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return b.pool.Get().(*[32 << 10]byte)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
