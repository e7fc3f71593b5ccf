// Kubelet is the kubelet's HTTPS server with its filter, and nothing else of a
// kubelet: no pods, no node.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"log"
	"net/http"

	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/client-go/util/cert"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/server"

	"kubeletauth/testdata/bench/kubelet"
)

func main() {
	address := flag.String("address", "127.0.0.1", "where to listen")
	port := flag.Int("port", 10250, "port to listen on")
	certFile := flag.String("tls-cert-file", "", "serving certificate")
	keyFile := flag.String("tls-private-key-file", "", "its key")
	clientCA := flag.String("client-ca-file", "", "authorities of client certificates")
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	flag.Parse()
	chain, err := kubelet.New(kubelet.Config{
		ClientCAFile: *clientCA, Mode: kubeletconfig.KubeletAuthorizationModeWebhook, Kubeconfig: *kubeconfig,
	})
	if err != nil {
		log.Fatal(err)
	}
	config, err := tlsConfig(*certFile, *keyFile, *clientCA)
	if err != nil {
		log.Fatal(err)
	}
	server.ListenAndServeKubeletServer(context.Background(), host{}, nil, nil, nil, &kubeletconfig.KubeletConfiguration{
		Address: *address, Port: int32(*port), EnableDebuggingHandlers: true,
	}, config, chain, noop.NewTracerProvider())
}

// tlsConfig is what NewMainKubelet of pkg/kubelet/kubelet.go makes when neither
// the client CA nor the serving certificate is reloaded. With a client CA that is
// reloaded a kubelet loses HTTP/2, and there would be less to compare.
func tlsConfig(certFile, keyFile, clientCA string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	roots, err := cert.NewPool(clientCA)
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
		ClientAuth:     tls.RequestClientCert,
		ClientCAs:      roots,
	}, err
}

// host is a kubelet that is healthy. Nothing else is asked of it.
type host struct{ server.HostInterface }

// SyncLoopHealthCheck is behind /healthz.
func (host) SyncLoopHealthCheck(*http.Request) error { return nil }
