package kubeclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"

	"kubeletauth/kubeletapi/internal/reload"
)

// kubeconfigFile is a kubeconfig on disk, with the files beside it that it names.
type kubeconfigFile struct {
	path string // absolute
	log  *slog.Logger
}

// settings reads the kubeconfig and all files that it names.
func (f kubeconfigFile) settings(read reload.ReadFunc, previous *settings) (s *settings, err error) {
	defer func() {
		if err != nil {
			s, err = nil, fmt.Errorf("kubeconfig %s: %w", f.path, err)
		}
	}()
	content, err := read(f.path)
	if err != nil {
		return nil, err
	}
	k, err := parseKubeconfig(content)
	if err != nil {
		return nil, err
	}
	c, u, err := k.current()
	if err != nil {
		return nil, err
	}
	s = &settings{}
	if err := f.addCluster(s, read, oneLine(c.Name), &c.Cluster); err != nil {
		return nil, err
	}
	if err := f.addUser(s, read, oneLine(u.Name), &u.User, &c.Cluster, previous); err != nil {
		return nil, err
	}
	_, err = s.to.tlsConfig()
	return s, err
}

func (f kubeconfigFile) addCluster(s *settings, read reload.ReadFunc, name string, c *cluster) (err error) {
	if err := c.check(name); err != nil {
		return err
	}
	if s.server, err = parseServer(c.Server); err != nil {
		return fmt.Errorf("cluster %q: %w", name, err)
	}
	if s.to.proxy, err = parseProxy(c.ProxyURL); err != nil {
		return fmt.Errorf("invalid 'proxy-url' for cluster %q: %w", name, err)
	}
	s.to.host, s.to.serverName = s.server.Host, c.TLSServerName
	s.to.insecure, s.to.disableCompression = c.InsecureSkipTLSVerify, c.DisableCompression
	s.to.ca, err = f.item(read, "certificate-authority of cluster", name, c.CertificateAuthority, c.CertificateAuthorityData)
	return err
}

func (f kubeconfigFile) addUser(s *settings, read reload.ReadFunc, name string, u *user, c *cluster, previous *settings) (err error) {
	if err := u.check(name); err != nil {
		return err
	}
	if s.to.certificate, err = f.item(read, "client-certificate of user", name, u.ClientCertificate, u.ClientCertificateData); err != nil {
		return err
	}
	if s.to.key, err = f.item(read, "client-key of user", name, u.ClientKey, u.ClientKeyData); err != nil {
		return err
	}
	if err := s.readToken(read, f.resolve(u.TokenFile), u.Token, previous); err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	if u.TokenFile != "" && s.tokenFile == "" && previous == nil {
		f.log.Warn("the tokenFile cannot be read, the token in the kubeconfig is used", "kubeconfig", f.path, "tokenFile", u.TokenFile)
	}
	s.username, s.password = u.Username, u.Password
	// UpdateTransportConfig in k8s.io/client-go plugin/pkg/client/auth/exec/exec.go
	if u.Exec != nil && s.authorization() == "" && len(s.to.certificate) == 0 {
		s.exec = f.plugin(u.Exec, s, c)
	}
	return nil
}

// plugin completes what the kubeconfig says of a credential plugin.
func (f kubeconfigFile) plugin(said *execPlugin, s *settings, c *cluster) *execPlugin {
	p := *said
	if filepath.Base(p.Command) != p.Command {
		p.Command = f.resolve(p.Command)
	}
	if p.ProvideClusterInfo {
		told := *c
		told.CertificateAuthority, told.CertificateAuthorityData = "", base64.StdEncoding.EncodeToString(s.to.ca)
		told.Extensions, told.Config = nil, nil
		for _, extension := range c.Extensions {
			if extension.Name == execExtension {
				told.Config = extension.Extension
			}
		}
		p.cluster = &told
	}
	return &p
}

// item returns the contents of a file or, decoded, the data that stands for it.
func (f kubeconfigFile) item(read reload.ReadFunc, what, whose, path, data string) (content []byte, err error) {
	switch path = f.resolve(path); {
	case path != "":
		if content, err = read(path); err == nil && len(content) == 0 {
			err = fmt.Errorf("%s is empty", path)
		}
	case data != "":
		if content, err = base64.StdEncoding.DecodeString(data); err != nil {
			err = errors.New("its data is not base64")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", what, whose, err)
	}
	return content, nil
}

// resolve makes a path absolute (tools/clientcmd/loader.go ResolvePaths).
func (f kubeconfigFile) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.path), path)
}

// parseServer takes a URL that credentials may be sent to. The kubelet sends
// none to another than https; here it is an error.
func parseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Scheme != "https":
		return nil, errors.New("server must start with https://, and be a URL: credentials are never sent over plain http")
	case u.Hostname() == "":
		return nil, errors.New("server has no host: write https://host:port")
	case u.User != nil:
		return nil, errors.New("server must hold no user name and password: move them to username and password of the user")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}, nil
}

// parseProxy follows parseProxyURL in tools/clientcmd/helpers.go. The URL, which
// may hold a password, is not in its errors.
func parseProxy(proxy string) (*url.URL, error) {
	if proxy == "" {
		return nil, nil
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" && u.Scheme != "" && u.Opaque == "" {
		return nil, errors.New("it is not a URL: write http://host:port")
	}
	switch u.Scheme {
	case "http", "https", "socks5":
		return u, nil
	}
	return nil, fmt.Errorf("unsupported scheme %q, must be http, https, or socks5", oneLine(u.Scheme))
}
