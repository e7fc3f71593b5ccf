package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

// floodLatency is how long the API server of a flood takes to answer.
const floodLatency = 5 * time.Millisecond

// floodAPI stands in front of the world's API server: it takes its time, or does not
// answer at all, and counts.
type floodAPI struct {
	next   http.Handler
	server *http.Server

	mu               sync.Mutex
	reviews, now, at int           // all, under way, and most of these
	hung             chan struct{} // not nil while it hangs
}

// newFloodAPI serves, and returns a kubeconfig that names it too.
func (w *world) newFloodAPI() (a *floodAPI, kubeconfig string) {
	pair := must(w.api.CA.Issue(apiservertest.Certificate{
		CommonName: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	a = &floodAPI{next: w.api}
	a.server = &http.Server{
		Handler: a, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100}, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	go a.server.ServeTLS(listener, "", "")
	config := bytes.ReplaceAll(must(os.ReadFile(w.kubeconfig)), []byte(w.api.URL), []byte("https://"+listener.Addr().String()))
	return a, w.write("kubeconfig-flood", config)
}

// ServeHTTP answers after a while.
func (a *floodAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hung := a.enter()
	defer a.leave()
	select {
	case <-time.After(floodLatency):
	case <-r.Context().Done():
		return
	}
	if hung != nil {
		select {
		case <-hung:
		case <-r.Context().Done():
			return
		}
	}
	a.next.ServeHTTP(w, r)
}

func (a *floodAPI) enter() (hung chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reviews++
	a.now++
	a.at = max(a.at, a.now)
	return a.hung
}

func (a *floodAPI) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
}

// hang lets it hang until the function that is returned is called; those who came
// meanwhile are never answered.
func (a *floodAPI) hang() (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hung = make(chan struct{})
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.hung = nil
	}
}

// count returns how many reviews there were since the last call, and how many at
// once.
func (a *floodAPI) count() (reviews, at int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	reviews, at = a.reviews, a.at
	a.reviews, a.at = 0, a.now
	return reviews, at
}

// jwt returns a new token that the API server knows and that looks like all that
// one key has signed.
func (w *world) jwt() string {
	id := rand.Text()
	token := "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ." + strings.Repeat(id, 30) + ".c2lnbmF0dXJl"
	w.api.SetToken(token, serviceAccount(id))
	return token
}
