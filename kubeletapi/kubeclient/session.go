package kubeclient

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"

	"kubeletauth/kubeletapi/internal/reload"
)

// settings are what the files say, whole and checked.
type settings struct {
	server *url.URL // https, without user, query and fragment
	to     endpoint
	token  string
	// tokenFile is where token comes from; empty for an inline token.
	tokenFile          string
	username, password string
	exec               *execPlugin // set only if it is the credential
}

// session is how the API server is reached and what we are known by there, as
// the files say. It is immutable but for what a credential plugin answers.
type session struct {
	settings
	static *credential // nil with a plugin
	plugin *plugin
}

// credential is what a request is authenticated by. It is immutable.
type credential struct {
	authorization string // the header; empty for none
	*connection
}

// secret is the part of the header that nobody may see.
func (c *credential) secret() string {
	_, secret, _ := strings.Cut(c.authorization, " ")
	return secret
}

// credential returns the one to use now. It may have to wait for a plugin.
func (s *session) credential(ctx context.Context) (*credential, error) {
	if s.plugin != nil {
		return s.plugin.credential(ctx)
	}
	return s.static, nil
}

// retire lets go of the connections.
func (s *session) retire() {
	if s.plugin != nil {
		s.plugin.retire()
	} else {
		s.static.retire()
	}
}

// loader makes sessions of files, one at a time.
type loader struct {
	settings func(read reload.ReadFunc, previous *settings) (*settings, error)
	log      *slog.Logger
	plugins  *pluginRuns
	previous *session
}

func newLoader(cfg Config, serviceAccount string, plugins *pluginRuns) (*loader, error) {
	l := &loader{log: cfg.Logger, plugins: plugins}
	if cfg.InCluster {
		source, err := newServiceAccount(serviceAccount, cfg.Logger)
		l.settings = source.settings
		return l, err
	}
	path, err := filepath.Abs(cfg.Kubeconfig)
	l.settings = kubeconfigFile{path, cfg.Logger}.settings
	return l, err
}

// load reads the files, and returns the session before if they say the same.
func (l *loader) load(read reload.ReadFunc) (*session, error) {
	var before *settings
	if l.previous != nil {
		before = &l.previous.settings
	}
	now, err := l.settings(read, before)
	if err != nil {
		return nil, err
	}
	if before != nil && reflect.DeepEqual(before, now) {
		return l.previous, nil
	}
	if now.to.insecure {
		l.log.Warn("insecure-skip-tls-verify is set: whoever answers at the address of the API server is believed", "server", now.server.String())
	}
	s, err := l.session(now)
	if err == nil {
		l.previous = s
	}
	return s, err
}

// session takes over the connection of the session before, if it leads to the
// same endpoint; else that is let go of.
func (l *loader) session(now *settings) (*session, error) {
	s, before := &session{settings: *now}, l.previous
	if now.exec != nil {
		s.plugin = &plugin{exec: *now.exec, to: now.to, runs: l.plugins}
	} else {
		var old *connection
		if before != nil && before.static != nil {
			old = before.static.connection
		}
		connection, err := connect(now.to, old)
		if err != nil {
			return nil, err
		}
		s.static = &credential{now.authorization(), connection}
	}
	if before != nil && (before.plugin != nil || s.plugin != nil) {
		before.retire()
	}
	return s, nil
}

// authorization is the header for a token or a password.
func (s *settings) authorization() string {
	switch {
	case s.token != "":
		return "Bearer " + s.token
	case s.username != "": // a password alone is not sent
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(s.username+":"+s.password))
	}
	return ""
}

// readToken sets the token from a file and, until the file was read once, from
// the inline token (k8s.io/client-go tools/clientcmd/client_config.go and
// transport/token_source.go). Afterwards a bad file is an error, which leaves
// the last good token in force.
func (s *settings) readToken(read reload.ReadFunc, path, inline string, previous *settings) error {
	if path == "" {
		s.token = inline
		return nil
	}
	content, err := read(path)
	token := strings.TrimSpace(string(content))
	if err == nil && (token == "" || !validHeader(token)) {
		err = fmt.Errorf("%s must hold a token and nothing else", path)
	}
	switch {
	case err == nil:
		s.token, s.tokenFile = token, path
	case inline == "" || previous != nil && previous.tokenFile == path:
		return fmt.Errorf("tokenFile: %w", err)
	default:
		s.token = inline
	}
	return nil
}
