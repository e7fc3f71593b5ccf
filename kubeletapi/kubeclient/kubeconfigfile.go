package kubeclient

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"

	"kubeletauth/kubeletapi/internal/reload"
)

// kubeconfigFile is a kubeconfig on disk, with the files beside it that it names.
type kubeconfigFile struct {
	path   string // absolute
	log    *slog.Logger
	report func(error)
	before *source // that was loaded last
}

// load reads the kubeconfig. Of the files that it names, those that the one before
// named stay as they are, and the others must be good.
func (f *kubeconfigFile) load(read reload.ReadFunc) (*source, error) {
	content, err := read(f.path)
	if err != nil {
		return nil, err
	}
	s, err := f.parse(content)
	if err == nil {
		err = f.open(s)
	}
	if err != nil {
		return nil, err
	}
	f.before = s
	return s, nil
}

// parse reads no other file.
func (f *kubeconfigFile) parse(content []byte) (*source, error) {
	k, err := parseKubeconfig(content)
	if err != nil {
		return nil, err
	}
	c, u, err := k.current()
	if err != nil {
		return nil, err
	}
	s := &source{}
	if err := f.addCluster(s, oneLine(c.Name), &c.Cluster); err != nil {
		return nil, err
	}
	return s, f.addUser(s, oneLine(u.Name), &u.User, &c.Cluster)
}

// open makes s follow the files that it names.
func (f *kubeconfigFile) open(s *source) (err error) {
	before := cmp.Or(f.before, &source{})
	s.caFile, s.pairFiles, s.tokenFile = before.caFile, before.pairFiles, before.tokenFile
	if s.caFile == nil || s.names.ca != before.names.ca {
		if s.caFile, err = reload.New(s.names.ca.authorities, f.report); err != nil {
			return fmt.Errorf("cluster %q: %w", s.names.cluster, err)
		}
	}
	if s.pairFiles == nil || s.names.pair != before.names.pair {
		if s.pairFiles, err = reload.New(s.names.pair.load, f.report); err != nil {
			return fmt.Errorf("user %q: %w", s.names.user, err)
		}
	}
	if s.tokenFile == nil || s.names.token != before.names.token || s.tokenFile.Get() == "" {
		if s.tokenFile, err = reload.New(tokenLoader(s.names.token, s.token), f.report); err != nil {
			return fmt.Errorf("user %q: %w", s.names.user, err)
		}
	}
	if s.names.token != "" && s.tokenFile.Get() == "" {
		f.log.Warn("the tokenFile cannot be read, the token in the kubeconfig is used", "kubeconfig", f.path, "tokenFile", s.names.token)
	}
	return nil
}

func (f *kubeconfigFile) addCluster(s *source, name string, c *cluster) (err error) {
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
	s.names.cluster, s.names.ca = name, pemSource{f.resolve(c.CertificateAuthority), c.CertificateAuthorityData}
	return nil
}

func (f *kubeconfigFile) addUser(s *source, name string, u *user, c *cluster) error {
	if err := u.check(name); err != nil {
		return err
	}
	s.names.pair = pairSource{pemSource{f.resolve(u.ClientCertificate), u.ClientCertificateData}, pemSource{f.resolve(u.ClientKey), u.ClientKeyData}}
	s.names.user, s.names.token = name, f.resolve(u.TokenFile)
	s.token, s.username, s.password = u.Token, u.Username, u.Password
	// UpdateTransportConfig in k8s.io/client-go plugin/pkg/client/auth/exec/exec.go
	if u.Exec != nil && s.authorization() == "" && s.names.token == "" && s.names.pair == (pairSource{}) {
		s.exec = f.plugin(u.Exec, c)
	}
	return nil
}

// plugin completes what the kubeconfig says of a credential plugin.
func (f *kubeconfigFile) plugin(said *execPlugin, c *cluster) *execPlugin {
	p := *said
	if filepath.Base(p.Command) != p.Command {
		p.Command = f.resolve(p.Command)
	}
	if p.ProvideClusterInfo {
		told := *c
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

// resolve makes a path absolute (tools/clientcmd/loader.go ResolvePaths).
func (f *kubeconfigFile) resolve(path string) string {
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
