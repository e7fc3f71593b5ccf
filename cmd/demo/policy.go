package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi/apiservertest"
)

//go:embed policy.json
var firstPolicy []byte

const maxPolicyBytes = 1 << 20

// policy is who has a token, and who may what: ClusterRoles with their
// ClusterRoleBindings in one.
type policy struct {
	Users []authn.UserInfo     `json:"users"`
	Rules []apiservertest.Rule `json:"rules"`
}

func parsePolicy(content []byte) (p policy, err error) {
	err = json.Unmarshal(content, new(any)) // all of it, and with a place for mistakes
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return p, fmt.Errorf("line %d: %w", 1+bytes.Count(content[:syntax.Offset], []byte("\n")), err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return p, err
	}
	seen, name := map[string]bool{}, regexp.MustCompile(`^[a-z0-9][-.a-z0-9]{0,62}$`)
	for _, user := range p.Users {
		switch {
		case !name.MatchString(user.Username):
			return p, fmt.Errorf("username %q: here, it names a file, and must be of lower-case letters, digits, dashes and dots", user.Username)
		case seen[user.Username]:
			return p, fmt.Errorf("username %q is there twice", user.Username)
		}
		seen[user.Username] = true
	}
	return p, nil
}

// apply puts a policy in force, or leaves the one before in force. A user who is
// new gets a token, in a file that curl takes for a header; that of a user who
// is gone is good no more.
func (w *world) apply(content []byte) error {
	p, err := parsePolicy(content)
	if err != nil {
		return err
	}
	tokens := map[string]string{}
	for _, user := range p.Users {
		token, known := w.tokens[user.Username]
		if !known {
			token = rand.Text()
			if err := w.write(user.Username+".header", []byte("Authorization: Bearer "+token+"\n")); err != nil {
				return err
			}
		}
		tokens[user.Username] = token
	}
	for user, token := range w.tokens {
		if tokens[user] == "" {
			w.apiServer.RevokeToken(token)
			os.Remove(w.path(user + ".header"))
		}
	}
	for _, user := range p.Users {
		w.apiServer.SetToken(tokens[user.Username], user)
	}
	w.tokens = tokens
	w.apiServer.SetRules(p.Rules...)
	w.applied = content
	return nil
}

// watch applies each change of the policy file until ctx ends.
func (w *world) watch(ctx context.Context) {
	ticks := time.NewTicker(200 * time.Millisecond)
	defer ticks.Stop()
	for last := ""; ; { // problem
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		changed, err := w.reload()
		switch {
		case err == nil && changed:
			w.logger.Info("The policy is in force", "file", w.path("policy.json"))
			last = ""
		case err != nil && err.Error() != last:
			w.logger.Error("The policy cannot be used; the one before stays in force", "file", w.path("policy.json"), "err", err)
			last = err.Error()
		}
	}
}

func (w *world) reload() (changed bool, err error) {
	f, err := os.Open(w.path("policy.json"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxPolicyBytes+1))
	switch {
	case err != nil:
		return false, err
	case len(content) > maxPolicyBytes:
		return false, fmt.Errorf("larger than %d bytes", maxPolicyBytes)
	case bytes.Equal(content, w.applied):
		return false, nil
	}
	return true, w.apply(content)
}
