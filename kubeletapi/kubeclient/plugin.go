package kubeclient

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// renewAhead is how long before its end a credential is renewed, while the
	// old one is still used; a tenth of its life if that is less.
	renewAhead = 10 * time.Second
	// pluginPause follows a failed run, and lies between two credentials that
	// are given up for a 401: a flood of reviews does not become one of
	// processes.
	pluginPause = time.Second
)

// plugin keeps the credential that a plugin gave, and runs it again before the
// credential expires, or after the API server refused it. There is one run at a
// time, which all callers share, and which no caller who goes away ends.
type plugin struct {
	exec  execPlugin
	to    endpoint
	owner *owner

	mu       sync.Mutex // guards the rest; not held during a run
	current  *credential
	expires  time.Time // of current; zero for never
	renew    time.Time // when to run ahead of that
	last     *connection
	run      *pluginRun
	failure  error     // of the last run
	notUntil time.Time // when to run again after it
	dropped  time.Time // when a credential was last given up
	retired  bool
}

// pluginRun is one run of the plugin, and when done is closed, how it ended.
type pluginRun struct {
	done chan struct{}
	cred *credential
	err  error
}

// credential returns the current one, or waits for a run of the plugin for as
// long as ctx lets it.
func (p *plugin) credential(ctx context.Context) (*credential, error) {
	cred, run, err := p.look(time.Now())
	if run == nil {
		return cred, err
	}
	select {
	case <-run.done:
		return run.cred, run.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for credential plugin %q: %v", oneLine(p.exec.Command), ctx.Err())
	}
}

// look returns a good credential, a run to wait for, or why there is neither.
func (p *plugin) look(now time.Time) (*credential, *pluginRun, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	good := p.current != nil && (p.expires.IsZero() || now.Before(p.expires))
	ahead := good && !p.expires.IsZero() && !now.Before(p.renew)
	if (!good || ahead) && p.run == nil && !now.Before(p.notUntil) {
		p.startLocked()
	}
	switch {
	case good:
		return p.current, nil, nil
	case p.run == nil:
		return nil, nil, p.failure
	}
	return nil, p.run, nil
}

func (p *plugin) startLocked() {
	run := &pluginRun{done: make(chan struct{})}
	started := p.owner.run(func(ctx context.Context) {
		status, err := p.exec.run(ctx)
		p.finish(run, status, err)
	})
	if !started {
		p.failure = fmt.Errorf("credential plugin %q: the client is closed", oneLine(p.exec.Command))
		return
	}
	p.run = run
}

func (p *plugin) finish(run *pluginRun, status *execStatus, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		run.cred, err = p.acceptLocked(status, time.Now())
	}
	if run.err = err; err != nil {
		p.failure, p.notUntil = err, time.Now().Add(pluginPause)
	}
	p.run = nil
	close(run.done)
}

// acceptLocked makes the answer of the plugin the current credential. The
// connection stays the same unless the certificate changed.
func (p *plugin) acceptLocked(status *execStatus, now time.Time) (*credential, error) {
	to := p.to
	to.certificate, to.key = []byte(status.ClientCertificateData), []byte(status.ClientKeyData)
	connection, err := connect(to, p.last)
	if err != nil {
		return nil, p.exec.failed(err)
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
	return p.current, nil
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
