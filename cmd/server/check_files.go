package main

import (
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
func (r *report) files(q *inquiry, node string) {
	if q.TLSCertFile+q.TLSPrivateKeyFile == "" {
		r.note("serving certificate", statusOK, "made by the server for "+node+" and its addresses; no authority vouches for it", "")
	} else {
		r.servingCertificate(q, node)
	}
	if q.ClientCAFile != "" {
		list, err := readCertificates("client-ca-file", q.ClientCAFile)
		r.add("client CA", statusFailed, err, "")
		r.validity("client CA", list)
	}
	r.mode("--tls-private-key-file", q.TLSPrivateKeyFile)
	r.mode("--kubeconfig", q.Kubeconfig)
}

func (r *report) servingCertificate(q *inquiry, node string) {
	const check = "serving certificate"
	certificates, err := readFile("tls-cert-file", q.TLSCertFile)
	var key []byte
	if err == nil {
		key, err = readFile("tls-private-key-file", q.TLSPrivateKeyFile)
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.X509KeyPair(certificates, key)
	}
	if err != nil {
		r.add(check, statusFailed, err, "--tls-cert-file and --tls-private-key-file must be there, and fit")
		return
	}
	var lacks []string
	if pair.Leaf.VerifyHostname(node) != nil {
		lacks = append(lacks, "the node's name "+node)
	}
	addresses := addresses(q.Address)
	if !slices.ContainsFunc(addresses, func(a string) bool { return pair.Leaf.VerifyHostname(a) == nil }) {
		lacks = append(lacks, fmt.Sprintf("an address of the node %v", addresses))
	}
	message := fmt.Sprintf("is for %q and %v", pair.Leaf.DNSNames, pair.Leaf.IPAddresses)
	if len(lacks) == 0 {
		r.note(check, statusOK, message, "")
	} else {
		r.note(check, []string{statusWarning, statusFailed}[len(lacks)-1], message+", and not for "+strings.Join(lacks, " or "), "have one issued for these: callers who verify it do not connect")
	}
	r.validity(check, []*x509.Certificate{pair.Leaf})
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

// validity warns of a certificate in the last tenth of its life, at most 30 days
// before its end. One that expired fails only if there is no other.
func (r *report) validity(check string, list []*x509.Certificate) {
	now := time.Now()
	good := slices.ContainsFunc(list, func(c *x509.Certificate) bool { return now.After(c.NotBefore) && now.Before(c.NotAfter) })
	bad := map[bool]string{true: statusWarning, false: statusFailed}[good]
	for _, c := range list {
		name, end := c.Subject.String(), c.NotAfter.UTC().Format(time.RFC3339)
		switch {
		case now.Before(c.NotBefore):
			r.note(check, bad, name+" is valid only from "+c.NotBefore.UTC().Format(time.RFC3339), "")
		case now.After(c.NotAfter):
			r.note(check, bad, name+" expired at "+end, "put one that is valid in its place")
		case c.NotAfter.Sub(now) < min(c.NotAfter.Sub(c.NotBefore)/10, 30*24*time.Hour):
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
