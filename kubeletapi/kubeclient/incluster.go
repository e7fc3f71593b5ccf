package kubeclient

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"kubeletauth/kubeletapi/internal/reload"
)

const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// serviceAccount is what Kubernetes gives to a pod (InClusterConfig in
// k8s.io/client-go rest/config.go).
type serviceAccount struct {
	server *url.URL
	folder string
	log    *slog.Logger
}

func newServiceAccount(folder string, log *slog.Logger) (a serviceAccount, err error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return a, errors.New("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined: outside of a pod, use a kubeconfig")
	}
	server, err := parseServer("https://" + net.JoinHostPort(host, port))
	if err != nil {
		return a, fmt.Errorf("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: %w", err)
	}
	return serviceAccount{server, folder, log}, nil
}

// settings reads the token and the CA. As with client-go, the system's roots
// stand in for a CA that was never usable.
func (a serviceAccount) settings(read reload.ReadFunc, previous *settings) (*settings, error) {
	s := &settings{server: a.server, to: endpoint{host: a.server.Host}}
	if err := s.readToken(read, filepath.Join(a.folder, "token"), "", previous); err != nil {
		return nil, fmt.Errorf("in-cluster configuration: %w; is the service account mounted (automountServiceAccountToken)?", err)
	}
	path := filepath.Join(a.folder, "ca.crt")
	ca, err := read(path)
	if err == nil {
		_, err = certificatePool(ca)
	}
	switch {
	case err == nil:
		s.to.ca = ca
	case previous == nil:
		a.log.Error("the CA of the API server is not usable, the system's roots are used", "file", path, "err", err)
	case len(previous.to.ca) > 0:
		return nil, fmt.Errorf("in-cluster configuration: %s: %w", path, err)
	}
	return s, nil
}
