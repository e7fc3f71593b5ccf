package kubeclient

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"kubeletauth/kubeletapi/internal/exactjson"
)

const (
	execV1        = "client.authentication.k8s.io/v1"
	execV1beta1   = "client.authentication.k8s.io/v1beta1"
	execExtension = "client.authentication.k8s.io/exec"

	pluginTimeout = 30 * time.Second
	maxStdout     = 1 << 20
	// stdoutDelay is how long after the plugin's end a child of it may keep
	// its standard output open: long, for a busy machine is slow to read it.
	stdoutDelay = 5 * time.Second
)

// execPlugin is what a kubeconfig says of a credential plugin (ExecConfig in
// k8s.io/client-go tools/clientcmd/api/v1/types.go).
type execPlugin struct {
	APIVersion string   `json:"apiVersion"`
	Command    string   `json:"command"`
	Args       []string `json:"args"`
	Env        []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
	InstallHint        string `json:"installHint"`
	ProvideClusterInfo bool   `json:"provideClusterInfo"`
	InteractiveMode    string `json:"interactiveMode"`

	cluster *cluster // that the plugin is told of, or nil
}

// execCredential is what goes to the plugin, and what comes back (k8s.io/client-go
// pkg/apis/clientauthentication/v1/types.go).
type execCredential struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Spec       struct {
		Cluster     *cluster `json:"cluster,omitempty"`
		Interactive bool     `json:"interactive"`
	} `json:"spec"`
	Status *execStatus `json:"status,omitempty"`
}

type execStatus struct {
	ExpirationTimestamp   *time.Time `json:"expirationTimestamp"` // nil for never
	Token                 string     `json:"token"`
	ClientCertificateData string     `json:"clientCertificateData"`
	ClientKeyData         string     `json:"clientKeyData"`
}

// check follows validateAuthInfo in tools/clientcmd/validation.go.
func (e *execPlugin) check(p *problems, name string) {
	p.when(e.Command == "", "command must be specified for %q to use exec authentication plugin", name)
	p.when(e.APIVersion == "", "apiVersion must be specified for %q to use exec authentication plugin: write %s", name, execV1)
	p.when(e.APIVersion != "" && e.APIVersion != execV1 && e.APIVersion != execV1beta1,
		"exec of user %q: apiVersion must be %s or %s: update the plugin, and the kubeconfig with it", name, execV1, execV1beta1)
	for _, env := range e.Env {
		p.when(env.Name == "", "env variable name must be specified for %q to use exec authentication plugin", name)
	}
	switch e.InteractiveMode {
	case "Never", "IfAvailable":
	case "":
		p.when(e.APIVersion == execV1, "interactiveMode must be specified for %q to use exec authentication plugin: write Never", name)
	case "Always":
		p.when(true, "exec of user %q: interactiveMode is Always, and there is no terminal: use a plugin that works without", name)
	default:
		p.when(true, "invalid interactiveMode for %q: write Never", name)
	}
}

// told returns the plugin that is told of this CA too, if it is told of the cluster.
func (e *execPlugin) told(ca []byte) *execPlugin {
	if e.cluster == nil {
		return e
	}
	p, c := *e, *e.cluster
	c.CertificateAuthority, c.CertificateAuthorityData = "", base64.StdEncoding.EncodeToString(ca)
	p.cluster = &c
	return &p
}

// run runs the plugin once, until ctx ends, and returns its answer
// (refreshCredsLocked in k8s.io/client-go plugin/pkg/client/auth/exec/exec.go).
// It has no input. What it writes to its standard error may hold a credential,
// and goes nowhere.
func (e *execPlugin) run(ctx context.Context) (status *execStatus, err error) {
	stdout, err := e.output(ctx)
	if err == nil {
		status, err = e.parse(stdout)
	}
	return status, e.failed(err)
}

func (e *execPlugin) output(ctx context.Context) ([]byte, error) {
	stdout := &boundedBuffer{max: maxStdout}
	cmd := exec.CommandContext(ctx, e.Command, e.Args...)
	cmd.Env, cmd.Stdout = e.environment(), stdout
	cmd.WaitDelay = stdoutDelay
	killGroup(cmd)
	runtime.LockOSThread() // see killGroup
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it did not end within %v", pluginTimeout)
	case err == nil && stdout.overflow:
		err = fmt.Errorf("it wrote more than %d bytes", maxStdout)
	case errors.Is(err, exec.ErrWaitDelay):
		err = fmt.Errorf("it ended, but what it started kept its standard output open for %v more: have that write elsewhere", stdoutDelay)
	case errors.As(err, new(*exec.ExitError)):
		err = fmt.Errorf("%w: run it by hand to see what it says, which may hold a credential and is not repeated here", err)
	}
	return stdout.kept, err
}

// failed says whose failure err is, if it is one.
func (e *execPlugin) failed(err error) error {
	if err == nil {
		return nil
	}
	text := fmt.Sprintf("credential plugin %q: %s", oneLine(e.Command), oneLine(err.Error()))
	if e.InstallHint != "" {
		text += " (" + oneLine(e.InstallHint) + ")"
	}
	return errors.New(text)
}

func (e *execPlugin) environment() []string {
	input := execCredential{Kind: "ExecCredential", APIVersion: e.APIVersion}
	input.Spec.Cluster = e.cluster
	info, _ := json.Marshal(input) // which is strings, and JSON that was read before
	environment := os.Environ()
	for _, env := range e.Env {
		environment = append(environment, env.Name+"="+env.Value)
	}
	return append(environment, "KUBERNETES_EXEC_INFO="+string(info))
}

// parse checks the answer of the plugin. An error never holds any of it.
func (e *execPlugin) parse(stdout []byte) (*execStatus, error) {
	var answer execCredential
	if exactjson.Unmarshal(stdout, &answer) != nil {
		return nil, errors.New("it did not write an ExecCredential in JSON, with times as RFC 3339 has them")
	}
	if answer.Kind != "ExecCredential" || answer.APIVersion != e.APIVersion {
		return nil, fmt.Errorf("it is configured to use apiVersion %s, and did not write an ExecCredential of that", e.APIVersion)
	}
	status := answer.Status
	switch {
	case status == nil || *status == execStatus{ExpirationTimestamp: status.ExpirationTimestamp}:
		return nil, errors.New("it did not return a token or a certificate and key")
	case (status.ClientCertificateData == "") != (status.ClientKeyData == ""):
		return nil, errors.New("it returned only one of certificate and key")
	case !validHeader(status.Token):
		return nil, errors.New("it returned a token with a control character in it")
	}
	return status, nil
}

// boundedBuffer keeps the first max bytes and drops the rest, so that a plugin
// that writes more is not held up.
type boundedBuffer struct {
	kept     []byte
	max      int
	overflow bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	fits := min(len(p), b.max-len(b.kept))
	b.kept = append(b.kept, p[:fits]...)
	b.overflow = b.overflow || fits < len(p)
	return len(p), nil
}
