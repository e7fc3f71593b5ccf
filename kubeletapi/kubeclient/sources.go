package kubeclient

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"kubeletauth/kubeletapi/internal/reload"
)

// fileNames are the files that a kubeconfig names, and the data in place of them.
type fileNames struct {
	cluster, user string // whose they are
	ca            pemSource
	pair          pairSource
	token         string // the path; empty for none
}

// pemSource is a file, or data in base64, or nothing.
type pemSource struct{ file, data string }

func (s pemSource) read(read reload.ReadFunc) (content []byte, err error) {
	switch {
	case s.file != "":
		if content, err = read(s.file); err == nil && len(content) == 0 {
			err = fmt.Errorf("%s is empty", s.file)
		}
	case s.data != "":
		if content, err = base64.StdEncoding.DecodeString(s.data); err != nil {
			err = errors.New("its data is not base64")
		}
	}
	return content, err
}

// authorities returns PEM with a certificate in it, or nothing. It refuses a bundle
// that is cut off.
func (s pemSource) authorities(read reload.ReadFunc) ([]byte, error) {
	content, err := s.read(read)
	switch text, where := string(content), cmp.Or(s.file, "its data"); {
	case err != nil || text == "":
	case !x509.NewCertPool().AppendCertsFromPEM(content):
		err = fmt.Errorf("%s: there is no certificate in PEM form in it", where)
	case strings.Count(text, "-----BEGIN CERTIFICATE-----") != strings.Count(text, "-----END CERTIFICATE-----"):
		err = fmt.Errorf("%s: a certificate in it is cut off", where)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate-authority: %w", err)
	}
	return content, nil
}

// keyPair is a certificate and its key in PEM, or nothing.
type keyPair struct{ certificate, key []byte }

type pairSource struct{ certificate, key pemSource }

// load returns a certificate and a key that fit.
func (s pairSource) load(read reload.ReadFunc) (p keyPair, err error) {
	if p.certificate, err = s.certificate.read(read); err != nil {
		return p, fmt.Errorf("client-certificate: %w", err)
	}
	if p.key, err = s.key.read(read); err != nil {
		return p, fmt.Errorf("client-key: %w", err)
	}
	if len(p.certificate)+len(p.key) == 0 {
		return p, nil
	}
	if _, err = tls.X509KeyPair(p.certificate, p.key); err != nil {
		err = fmt.Errorf("client-certificate and client-key: %s and %s: %s", cmp.Or(s.certificate.file, "its data"), cmp.Or(s.key.file, "its data"), oneLine(err.Error()))
	}
	return p, err
}

// tokenLoader reads a token from a file, if one is named. Until that was done
// once, a bad file does not matter if there is an inline token (k8s.io/client-go
// tools/clientcmd/client_config.go and transport/token_source.go).
func tokenLoader(path, inline string) func(reload.ReadFunc) (string, error) {
	good := false
	return func(read reload.ReadFunc) (string, error) {
		if path == "" {
			return "", nil
		}
		content, err := read(path)
		token := strings.TrimSpace(string(content))
		if err == nil && (token == "" || !validHeader(token)) {
			err = fmt.Errorf("%s must hold a token and nothing else", path)
		}
		switch {
		case err == nil:
			good = true
			return token, nil
		case inline != "" && !good:
			return "", nil
		}
		return "", fmt.Errorf("tokenFile: %w", err)
	}
}
