// Package e2e shows this project against programs that no one here wrote: a real kube-apiserver, kubelet and kubectl.
// The folder is a module of its own, so that the project itself requires nothing of Kubernetes.
//
//	go -C testdata/e2e build tool               # once on a machine: compiles Kubernetes, some eight minutes on two cores
//	go -C testdata/e2e test -timeout=30m ./...  # does the same if it has not been done
//
// The tests need nothing but a Go toolchain and, for the kubelet, root on a Linux machine with a network interface.
// What a machine lacks is said in the line that skips a test. The environment may say:
//
//	KUBELETAUTH_E2E_NOSKIP=1    a test that cannot run is a failure, not skipped, but for those of programs that
//	                            cannot be had on every machine: Prometheus, metrics-server, nginx
//	KUBELETAUTH_E2E_DIR=folder  where the cluster's logs, certificates and audit log go and stay
//
// Prometheus and nginx are the machine's own, or are taken from Debian's archive without being installed.
//
// A control plane listens on 127.0.0.1. A kubelet listens on an address of one of this machine's interfaces.
package e2e
