package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubeletauth/kubeletapi/apiservertest"
)

// Whichever file is given for another by mistake, nothing in it is told that is a
// secret: not by the server, nor by what it says before and while it runs.
func TestWrongFileTellsNoSecret(t *testing.T) {
	w := newTown(t)
	w.write("bad.yaml", []byte("apiVersion: v1\nkind: Config\nusers: [{name: x, user: {token: ["+secret+"]}}]\npassword: "+secret+"\n"+secret+": x\n"))
	w.write("basic", []byte(strings.Replace(string(w.api.Kubeconfig("x")), `token: "x"`, "username: u\n    password: "+secret+"\n    token: [x]", 1)))
	w.write("two-lines", []byte(secret+"\n"+secret+"\n"))
	w.write("token.crt", []byte("-----BEGIN CERTIFICATE-----\n"+secret+"\n-----END CERTIFICATE-----\n"))
	pair := w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "node"})
	w.write("node", w.api.KubeconfigWithCertificate(pair))
	w.write("node.pem", append(apiservertest.CertPEM(pair), apiservertest.KeyPEM(pair)...))
	hidden := []string{secret, w.api.ClientToken()}
	for _, file := range []string{"tls.key", "node.pem"} {
		content, err := os.ReadFile(filepath.Join(w.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		_, key, _ := strings.Cut(string(content), "PRIVATE KEY-----\n")
		hidden = append(hidden, strings.Fields(key)[0])
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, file := range []string{"token", "kubeconfig", "bad.yaml", "basic", "two-lines", "token.crt", "tls.key", "node", "node.pem"} {
		for _, flag := range []string{"config", "config-dir", "kubeconfig", "client-ca-file", "tls-cert-file", "tls-private-key-file", "token-file", "cert-file",
			"upstream-ca-file", "upstream-cert-file", "upstream-key-file", "cert-dir"} {
			for _, command := range []string{"", "check ", "explain "} {
				line := command + strings.ReplaceAll(secureFlags, "DIR", w.dir) + " --port=" + fmt.Sprint(freePort(t)) + " --healthz-port=0 --upstream=https://127.0.0.1:1 --" + flag + "=" + filepath.Join(w.dir, file)
				if command == "explain " {
					line += " GET /metrics"
				}
				var stdout, stderr bytes.Buffer
				run(stopped, strings.Fields(line), &stdout, &stderr)
				for _, text := range hidden {
					if said := stdout.String() + stderr.String(); strings.Contains(said, text) {
						t.Errorf("%s--%s=%s: tells %.20q: %s", command, flag, file, text, said)
					}
				}
			}
		}
	}
}
