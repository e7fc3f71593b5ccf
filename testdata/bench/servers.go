package main

import (
	"crypto/x509"
	"debug/buildinfo"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kubeletauth/kubeletapi/apiservertest"
)

// servers are the programs that are compared as whole processes.
type servers struct {
	*world
	serving []string // flags
}

// newServers builds the programs, stripped: ours and the bare one as they are
// deployed, static. The kubelet's server keeps the paths that -trimpath would take
// out, and its C library: all of Kubernetes would be compiled again.
func newServers(w *world) *servers {
	s := &servers{world: w}
	s.build("CGO_ENABLED=0", "-trimpath", "./server/bare", "kubeletauth/cmd/server")
	s.build("", "./server/kubelet")
	pair := must(w.api.CA.Issue(apiservertest.Certificate{
		CommonName: "n1", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}))
	s.serving = []string{
		"--tls-cert-file=" + w.write("serving.crt", apiservertest.CertPEM(pair)),
		"--tls-private-key-file=" + w.write("serving.key", apiservertest.KeyPEM(pair)),
	}
	return s
}

func (s *servers) build(env string, args ...string) {
	cmd := exec.Command("go", append([]string{"build", "-ldflags=-s -w", "-o", s.dir + "/"}, args...)...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	check(cmd.Run())
}

func (s *servers) path(program string) string { return filepath.Join(s.dir, program) }

func (s *servers) start(name, program string, flags ...string) *process {
	return start(name, s.path(name+".log"), s.path(program), append(flags, s.serving...)...)
}

// bare starts a server without a filter.
func (s *servers) bare(flags ...string) *process { return s.start("bare", "bare", flags...) }

// limited starts a bare server with time limits.
func (s *servers) limited(flags ...string) *process {
	return s.start("limited", "bare", append(flags, "--limits")...)
}

// theirs starts the kubelet's server.
func (s *servers) theirs() *process {
	return s.start("kubelet", "kubelet", "--client-ca-file="+s.caFile, "--kubeconfig="+s.kubeconfig)
}

// ours starts cmd/server. It asks for the same subresources as the kubelet.
func (s *servers) ours(flags ...string) *process {
	return s.start("server", "server", append(flags, "--client-ca-file="+s.caFile, "--kubeconfig="+s.kubeconfig,
		"--anonymous-auth=false", "--authentication-token-webhook", "--authorization-mode=Webhook",
		"--hostname-override=n1", "--feature-gates=KubeletFineGrainedAuthz=true")...)
}

// knows reports whether our server has a flag.
func (s *servers) knows(flag string) bool {
	return strings.Contains(string(must(exec.Command(s.path("server"), "-h").Output())), "--"+flag+" ")
}

// binary is the size of a program in bytes, and how many modules are in it
// besides its own.
func (s *servers) binary(program string) (size float64, modules int) {
	info := must(buildinfo.ReadFile(s.path(program)))
	return float64(must(os.Stat(s.path(program))).Size()), len(info.Deps)
}
