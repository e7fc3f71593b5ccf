package kubeclient

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/url"
	"strings"
)

// settings are what the files say, whole and checked.
type settings struct {
	server *url.URL // https, without user, query and fragment
	to     endpoint
	token  string

	username, password string
	exec               *execPlugin // set only if it is the credential
}

// with returns the settings with what the files beside them say.
func (s settings) with(ca []byte, pair keyPair, token string) *settings {
	s.to.ca, s.to.certificate, s.to.key = ca, pair.certificate, pair.key
	s.token = cmp.Or(token, s.token)
	if s.exec != nil {
		s.exec = s.exec.told(ca)
	}
	return &s
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

// newSession takes over the connection of the session before, if it leads to the
// same endpoint; else that is let go of.
func newSession(now *settings, before *session, plugins *pluginRuns) (*session, error) {
	s := &session{settings: *now}
	if now.exec != nil {
		s.plugin = &plugin{exec: *now.exec, to: now.to, runs: plugins}
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
