package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/kubeletapi/node"
)

const (
	apiServerUser = "kube-apiserver-kubelet-client"
	strangerUser  = "stranger" // with a certificate of an authority that nobody knows
	nodeName      = "demo-node"
	logText       = "This is the only log that the demo shows.\n"
)

// world is all that there is: a folder, an API server, a server, and who asks.
type world struct {
	dir       string
	url       string // of the server
	logger    *slog.Logger
	apiServer *apiservertest.Server
	ca        *apiservertest.CA          // of the server and of its clients
	certs     map[string]tls.Certificate // by user; and the server's
	tokens    map[string]string          // by user
	applied   []byte                     // the policy in force
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, content []byte) error {
	return os.WriteFile(w.path(name), content, 0o600)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// writeFiles makes the certificates and writes what the server and curl read.
func (w *world) writeFiles() (err error) {
	if w.ca, err = apiservertest.NewCA("kubeletauth-demo"); err != nil {
		return err
	}
	stranger, err := apiservertest.NewCA("stranger-ca")
	if err != nil {
		return err
	}
	w.certs = map[string]tls.Certificate{}
	return cmp.Or(
		w.issue(w.ca, "server", apiservertest.Certificate{
			CommonName: nodeName, DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
			Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}),
		w.issue(w.ca, apiServerUser, apiservertest.Certificate{CommonName: apiServerUser}),
		w.issue(stranger, strangerUser, apiservertest.Certificate{CommonName: strangerUser}),
		w.write("ca.crt", w.ca.PEM()),
		w.write("kubeconfig", w.apiServer.Kubeconfig("")),
		os.Mkdir(w.path("logs"), 0o700),
		w.write("logs/demo.log", []byte(logText)),
		w.write("policy.json", firstPolicy),
		w.apply(firstPolicy),
	)
}

// issue makes a certificate and writes it, with its key, into files by name.
func (w *world) issue(ca *apiservertest.CA, name string, c apiservertest.Certificate) error {
	c.NotAfter = time.Now().AddDate(0, 0, 30)
	cert, err := ca.Issue(c)
	if err != nil {
		return err
	}
	w.certs[name] = cert
	return cmp.Or(w.write(name+".crt", apiservertest.CertPEM(cert)), w.write(name+".key", apiservertest.KeyPEM(cert)))
}

// startServer serves this machine's API as cmd/server does, until ctx ends. What
// became of it can be received once then.
func (w *world) startServer(ctx context.Context, port int) (served <-chan error, err error) {
	config := kubeletapi.Config{
		ClientCAFile:               w.path("ca.crt"),
		AuthenticationTokenWebhook: true,
		AuthorizationMode:          kubeletapi.ModeWebhook,
		HostnameOverride:           nodeName,
		Kubeconfig:                 w.path("kubeconfig"),
		TLSCertFile:                w.path("server.crt"),
		TLSPrivateKeyFile:          w.path("server.key"),
		Logger:                     w.logger,

		// Not the defaults: an edit of the policy should show at once.
		AuthenticationTokenWebhookCacheTTL:       time.Second,
		AuthorizationWebhookCacheAuthorizedTTL:   time.Second,
		AuthorizationWebhookCacheUnauthorizedTTL: time.Second,
	}
	auth, err := kubeletapi.New(config)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		auth.Close()
		return nil, err
	}
	w.url = "https://" + listener.Addr().String()
	api := node.API{NodeName: nodeName, Metrics: auth.WriteMetrics, LogDir: w.path("logs"), Logger: w.logger}
	server := &kubeletapi.Server{Config: config, Auth: auth, Handler: api.Handler()}
	end := make(chan error, 1)
	go func() {
		defer auth.Close()
		end <- server.Serve(ctx, listener)
	}()
	return end, nil
}
