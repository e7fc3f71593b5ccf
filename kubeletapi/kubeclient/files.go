package kubeclient

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"time"

	"kubeletauth/kubeletapi/internal/reload"
)

// source is what a kubeconfig or a service account says, and the files that it
// names. Each of those keeps a last good value of its own.
type source struct {
	settings  // but for what the files say
	names     fileNames
	caFile    *reload.Value[[]byte]
	pairFiles *reload.Value[keyPair]
	tokenFile *reload.Value[string] // "" leaves the token of the settings
}

// look returns the settings that the files make now.
func (s *source) look() *settings {
	return s.with(s.caFile.Reload(), s.pairFiles.Reload(), s.tokenFile.Reload())
}

// clientFiles keep a session up to date with all the files that it comes from.
// They are looked at in one go, so that those that change together, as in a
// mounted Secret, are in force together.
type clientFiles struct {
	root    *reload.Value[*source]
	turn    *reload.Turn
	config  *Config
	plugins *pluginRuns
	current atomic.Pointer[session]
}

func newClientFiles(cfg *Config, serviceAccount string, plugins *pluginRuns) (f *clientFiles, err error) {
	f = &clientFiles{config: cfg, plugins: plugins, turn: reload.NewTurn()}
	if cfg.InCluster {
		f.root, err = inCluster(serviceAccount, cfg.Logger, cfg.Report)
	} else {
		f.root, err = openKubeconfig(cfg.Kubeconfig, cfg.Logger, cfg.Report)
	}
	if err == nil {
		err = f.renew()
	}
	return f, err
}

func openKubeconfig(path string, log *slog.Logger, report func(error)) (*reload.Value[*source], error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	report = under("kubeconfig "+path, report)
	f := &kubeconfigFile{path: path, log: log, report: report}
	root, err := reload.New(f.load, report)
	if err != nil {
		err = fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return root, err
}

// under returns a report that says of an error what it is about.
func under(what string, report func(error)) func(error) {
	return func(err error) {
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
		report(err)
	}
}

// get returns the session of now, for which one of its callers looks at the
// files twice a second.
func (f *clientFiles) get() *session {
	f.turn.Take(time.Now(), f.look)
	return f.current.Load()
}

// reload looks at the files at once.
func (f *clientFiles) reload() *session {
	f.turn.Wait(f.look)
	return f.current.Load()
}

func (f *clientFiles) look() {
	if err := f.renew(); err != nil {
		f.config.Report(err)
	}
}

// renew leaves the session as it is if the files say the same.
func (f *clientFiles) renew() error {
	now, before := f.root.Reload().look(), f.current.Load()
	if before != nil && reflect.DeepEqual(&before.settings, now) {
		return nil
	}
	now = f.root.Reload().look() // if they were swapped during the first look, all are new by now
	if now.to.insecure {
		f.config.Logger.Warn("insecure-skip-tls-verify is set: whoever answers at the address of the API server is believed", "server", now.server.String())
	}
	s, err := newSession(now, before, f.plugins)
	if err == nil {
		f.current.Store(s)
	}
	return err
}
