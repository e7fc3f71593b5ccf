package kubeclient

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"kubeletauth/kubeletapi/internal/reload"
)

const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// inCluster is what Kubernetes gives to a pod (InClusterConfig in
// k8s.io/client-go rest/config.go).
func inCluster(folder string, log *slog.Logger, report func(error)) (*reload.Value[*source], error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined: outside of a pod, use a kubeconfig")
	}
	server, err := parseServer("https://" + net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: %w", err)
	}
	s := &source{settings: settings{server: server, to: endpoint{host: server.Host}}}
	report = under("in-cluster configuration", report)
	if s.tokenFile, err = reload.New(tokenLoader(filepath.Join(folder, "token"), ""), report); err != nil {
		return nil, fmt.Errorf("in-cluster configuration: %w; is the service account mounted (automountServiceAccountToken)?", err)
	}
	s.caFile, _ = reload.New(inClusterCA(filepath.Join(folder, "ca.crt"), log), report)
	s.pairFiles, _ = reload.New(pairSource{}.load, nil)
	return reload.New(func(reload.ReadFunc) (*source, error) { return s, nil }, nil)
}

// inClusterCA never fails at first: as with client-go, the system's roots stand in
// for a CA that was never usable.
func inClusterCA(path string, log *slog.Logger) func(reload.ReadFunc) ([]byte, error) {
	good, tried := false, false
	return func(read reload.ReadFunc) ([]byte, error) {
		content, err := pemSource{file: path}.authorities(read)
		if good = good || err == nil; good {
			return content, err
		}
		if !tried {
			log.Error("the CA of the API server is not usable, the system's roots are used", "file", path, "err", err)
		}
		tried = true
		return nil, nil
	}
}
