package kubeclient

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kubeletauth/kubeletapi/internal/ttlcache"
)

const (
	// renewAhead is how long before its end a credential is renewed, while the
	// old one is still used; a tenth of its life if that is less.
	renewAhead = 10 * time.Second
	// pluginPause follows a failed run, and lies between two credentials that
	// are given up for a 401: a flood of reviews does not become one of
	// processes.
	pluginPause = time.Second / 2
)

// plugin keeps the credential that a plugin gave, and runs it again before the
// credential expires, or after the API server refused it. There is one run at a
// time, which all callers share, and which no caller who goes away ends.
type plugin struct {
	exec execPlugin
	to   endpoint
	runs *pluginRuns

	mu       sync.Mutex // guards the rest; not held during a run
	current  *credential
	expires  time.Time // of current; zero for never
	renew    time.Time // when to run ahead of that
	last     *connection
	failure  error     // of the last run
	notUntil time.Time // when to run again after it
	dropped  time.Time // when a credential was last given up
	retired  bool
}

// pluginRuns are those of a client, which ends them.
type pluginRuns = ttlcache.Group[*plugin, *credential]

// credential returns the current one, or waits for a run of the plugin for as
// long as ctx lets it.
func (p *plugin) credential(ctx context.Context) (*credential, error) {
	cred, due, err := p.look(time.Now())
	switch {
	case !due:
		return cred, err
	case cred != nil:
		p.runs.Start(p, p.run)
		return cred, nil
	}
	cred, err = p.runs.Do(ctx, p, p.run)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("waiting for credential plugin %q: %v", oneLine(p.exec.Command), ctx.Err())
	}
	return cred, err
}

// look returns a good credential, if there is one, or why the last run failed, and
// whether the plugin is to be run.
func (p *plugin) look(now time.Time) (cred *credential, due bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	good := p.current != nil && (p.expires.IsZero() || now.Before(p.expires))
	ahead := !p.expires.IsZero() && !now.Before(p.renew)
	due = (!good || ahead) && !now.Before(p.notUntil)
	if !good {
		return nil, due, p.failure
	}
	return p.current, due, nil
}

// run runs the plugin, unless that has just been done.
func (p *plugin) run(ctx context.Context) (*credential, error) {
	if cred, due, err := p.look(time.Now()); !due {
		return cred, err
	}
	status, err := p.exec.run(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		err = p.acceptLocked(status, time.Now())
	}
	if err != nil {
		p.failure, p.notUntil = err, time.Now().Add(pluginPause)
		return nil, err
	}
	return p.current, nil
}

// acceptLocked makes the answer of the plugin the current credential. The
// connection stays the same unless the certificate changed.
func (p *plugin) acceptLocked(status *execStatus, now time.Time) error {
	to := p.to
	to.certificate, to.key = []byte(status.ClientCertificateData), []byte(status.ClientKeyData)
	connection, err := connect(to, p.last)
	if err != nil {
		return p.exec.failed(err)
	}
	if p.retired {
		connection.retire()
	}
	s := settings{token: status.Token}
	p.last, p.current = connection, &credential{s.authorization(), connection}
	p.expires = time.Time{}
	if end := status.ExpirationTimestamp; end != nil {
		p.expires = *end
		if soon := now.Add(pluginPause); p.expires.Before(soon) { // or it would run for every review
			p.expires = soon
		}
		p.renew = p.expires.Add(-min(renewAhead, p.expires.Sub(now)/10))
	}
	return nil
}

// drop gives up the credential that the API server refused, unless that was
// done, or there is a newer one already.
func (p *plugin) drop(refused *credential) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.current == refused && now.Sub(p.dropped) >= pluginPause {
		p.current, p.dropped = nil, now
	}
}

func (p *plugin) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	if p.last != nil {
		p.last.retire()
	}
}
