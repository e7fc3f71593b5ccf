package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// files looks at the files that the server reads itself.
func (r *report) files(node string) {
	if r.q.TLSCertFile+r.q.TLSPrivateKeyFile == "" {
		r.note("serving certificate", statusOK, "made by the server for "+node+" and its addresses; no authority vouches for it", "")
	} else {
		r.servingCertificate(node)
	}
	if r.q.ClientCAFile != "" {
		list, err := readCertificates("client-ca-file", r.q.ClientCAFile)
		r.fail("client CA", err, "")
		r.validity("client CA", list, either(slices.ContainsFunc(list, valid), statusWarning, statusFailed)) // one is enough
	}
	r.mode("--tls-private-key-file", r.q.TLSPrivateKeyFile)
	r.mode("--kubeconfig", r.q.Kubeconfig)
}

func (r *report) servingCertificate(node string) {
	const check = "serving certificate"
	content, err := readFile("tls-cert-file", r.q.TLSCertFile)
	key, keyErr := readFile("tls-private-key-file", r.q.TLSPrivateKeyFile)
	pair, pairErr := tls.X509KeyPair(content, key)
	if err := cmp.Or(err, keyErr, pairErr); err != nil {
		r.fail(check, err, "--tls-cert-file and --tls-private-key-file must be there, and fit")
		return
	}
	var lacks []string
	if pair.Leaf.VerifyHostname(node) != nil {
		lacks = append(lacks, "the node's name "+node)
	}
	addresses := addresses(r.q.Address)
	if !slices.ContainsFunc(addresses, func(a string) bool { return pair.Leaf.VerifyHostname(a) == nil }) {
		lacks = append(lacks, fmt.Sprintf("an address of the node %v", addresses))
	}
	message := fmt.Sprintf("is for %q and %v", pair.Leaf.DNSNames, pair.Leaf.IPAddresses)
	if len(lacks) == 0 {
		r.note(check, statusOK, message, "")
	} else {
		r.note(check, either(len(lacks) == 1, statusWarning, statusFailed), message+", and not for "+strings.Join(lacks, " or "), "have one issued for these: callers who verify it do not connect")
	}
	chain, err := readCertificates("tls-cert-file", r.q.TLSCertFile)
	r.fail(check, err, "callers cannot read the certificates below the first one")
	r.validity(check, chain, statusFailed)
}

// addresses are those that the server has if it listens on this one.
func addresses(listens string) (list []string) {
	if !net.ParseIP(listens).IsUnspecified() {
		return []string{listens}
	}
	interfaces, _ := net.InterfaceAddrs() // without them, the name will have to do
	for _, a := range interfaces {
		if a, ok := a.(*net.IPNet); ok && a.IP.IsGlobalUnicast() {
			list = append(list, a.IP.String())
		}
	}
	return list
}

func valid(c *x509.Certificate) bool {
	now := time.Now()
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// validity warns of a certificate in the last tenth of its life, at most 30 days
// before its end. What is not valid has the status bad.
func (r *report) validity(check string, list []*x509.Certificate, bad string) {
	for _, c := range list {
		name, end, left := c.Subject.String(), c.NotAfter.UTC().Format(time.RFC3339), time.Until(c.NotAfter)
		switch {
		case left < 0:
			r.note(check, bad, name+" expired at "+end, "put one that is valid in its place")
		case !valid(c):
			r.note(check, bad, name+" is valid only from "+c.NotBefore.UTC().Format(time.RFC3339), "")
		case left < min(c.NotAfter.Sub(c.NotBefore)/10, 30*24*time.Hour):
			r.note(check, statusWarning, name+" is valid only until "+end, "renew it")
		default:
			r.note(check, statusOK, name+" is valid until "+end, "")
		}
	}
}

// mode warns of a secret that everyone on this machine can read or replace.
func (r *report) mode(flag, path string) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o006 != 0 && runtime.GOOS != "windows" { // where it says nothing
		r.note("file mode", statusWarning, fmt.Sprintf("%s: everyone on this machine may read or write %s (%v)", flag, path, info.Mode()), "chmod o= on it")
	}
}
