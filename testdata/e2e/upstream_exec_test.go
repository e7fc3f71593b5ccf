package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	streaming "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

// execService is an upstream that serves /exec/<namespace>/<pod>/<container> as a kubelet and its container runtime do:
// SPDY by itself, and WebSockets by translating them to SPDY. The container is this machine.
type execService struct {
	url  string
	seen chan *http.Request
}

func (s *execService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/exec/") {
		http.NotFound(w, r)
		return
	}
	options, err := streaming.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if wsstream.IsWebSocketRequest(r) {
		s.seen <- r
		location, err := url.Parse(s.url + r.RequestURI)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		location.Path = "/exec/translated"
		translator.NewStreamTranslatorHandler(location, nil, 0, translator.Options{Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr, Tty: options.TTY}).ServeHTTP(w, r)
		return
	}
	if path.Base(r.URL.Path) != "translated" {
		s.seen <- r
	}
	streaming.ServeExec(w, r, execShell{}, "", "", "", r.URL.Query()["command"], options, time.Minute, time.Minute, streaming.SupportedStreamingProtocols)
}

// execShell runs commands on this machine.
type execShell struct{}

func (execShell) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errs io.WriteCloser,
	tty bool, sizes <-chan streaming.TerminalSize, _ time.Duration) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	if tty {
		return execExit(execOnTerminal(cmd, in, out, sizes))
	}
	if in != nil {
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			defer stdin.Close()
			io.Copy(stdin, in) // until the client closes it, or the connection ends with the command
		}()
	}
	if out != nil {
		cmd.Stdout = out
	}
	if errs != nil {
		cmd.Stderr = errs
	}
	return execExit(cmd.Run())
}

// execExit has the exit code of a command in the way that the client is told it.
func execExit(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return utilexec.ExitErrorWrapper{ExitError: exit}
	}
	return err
}

// startExec serves an execService for the length of the test.
func startExec(t *testing.T) *execService {
	t.Helper()
	service := &execService{seen: make(chan *http.Request, 10)}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	service.url = server.URL
	return service
}

// TestUpstreamExec shows commands that run behind our server, by both of client-go's ways: SPDY/3.1 and WebSockets.
func TestUpstreamExec(t *testing.T) {
	c := theCluster(t)
	service := startExec(t)
	s := startUpstream(t, c, service.url, harness.Nodes("create", "proxy"), "--upstream-identity-headers")
	c.Grant(t, s.account.Subject(), harness.Nodes("get", "proxy"))
	for _, way := range []string{"SPDY/3.1", "websocket"} {
		t.Run(way, func(t *testing.T) {
			t.Run("stdin, stdout, stderr and exit code", func(t *testing.T) { execStreams(t, s, service, way) })
			t.Run("much of it", func(t *testing.T) { execMuch(t, s, service, way) })
			t.Run("back and forth", func(t *testing.T) { execTalk(t, s, service, way) })
			t.Run("terminal", func(t *testing.T) { execTerminal(t, s, service, way) })
			t.Run("refused", func(t *testing.T) { execRefused(t, s, service, way) })
		})
	}
}

// execConfig is how a client of ours reaches our server.
func execConfig(s *upstreamServer, token string) *rest.Config {
	return &rest.Config{
		Host: s.URL, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: s.cluster.CA.CertPEM},
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
}

// execRun runs a command with the streams that options have.
func execRun(t *testing.T, s *upstreamServer, token, way string, options remotecommand.StreamOptions, command ...string) error {
	t.Helper()
	query := url.Values{"command": command}
	for name, wanted := range map[string]bool{"input": options.Stdin != nil, "output": options.Stdout != nil, "error": options.Stderr != nil, "tty": options.Tty} {
		if wanted {
			query.Set(name, "1")
		}
	}
	target, err := url.Parse(s.URL + "/exec/default/pod/container?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var executor remotecommand.Executor
	if way == "websocket" {
		executor, err = remotecommand.NewWebSocketExecutor(execConfig(s, token), "GET", target.String())
	} else {
		executor, err = remotecommand.NewSPDYExecutor(execConfig(s, token), "POST", target)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return executor.StreamWithContext(ctx, options)
}

// execExpectSeen wants that the upstream saw who asks, and no credential.
func execExpectSeen(t *testing.T, s *upstreamServer, service *execService, method, way string) {
	t.Helper()
	execExpectSeenOf(t, s, upstreamTake(t, service.seen), method, way)
}

func execExpectSeenOf(t *testing.T, s *upstreamServer, r *http.Request, method, way string) {
	t.Helper()
	if r.Method != method || r.Header.Get("Upgrade") != way || r.Header.Get("X-Remote-User") != s.account.Username() {
		t.Errorf("the upstream saw %s, upgrade to %q, by %q", r.Method, r.Header.Get("Upgrade"), r.Header.Get("X-Remote-User"))
	}
	if r.Header["Authorization"] != nil || upstreamHasToken(fmt.Sprint(r.Header, r.URL), s.token) {
		t.Error("the upstream saw the token")
	}
}

// execMethods are the methods by which a command is asked for.
var execMethods = map[string]string{"SPDY/3.1": "POST", "websocket": "GET"}

func execStreams(t *testing.T, s *upstreamServer, service *execService, way string) {
	var out, errs bytes.Buffer
	options := remotecommand.StreamOptions{Stdin: strings.NewReader("from stdin\n"), Stdout: &out, Stderr: &errs}
	err := execRun(t, s, s.token, way, options, "sh", "-c", "cat; echo to stderr >&2; exit 7")
	if exit := utilexec.ExitError(nil); !errors.As(err, &exit) || exit.ExitStatus() != 7 {
		t.Errorf("the command ended with %v", err)
	}
	if out.String() != "from stdin\n" || errs.String() != "to stderr\n" {
		t.Errorf("stdout is %q, stderr is %q", out.String(), errs.String())
	}
	execExpectSeen(t, s, service, execMethods[way], way)
	if err := execRun(t, s, s.token, way, remotecommand.StreamOptions{Stdout: &out}, "true"); err != nil {
		t.Errorf("true ended with %v", err)
	}
	execExpectSeen(t, s, service, execMethods[way], way)
}

// execMuch sends some megabytes there and back at the same time.
func execMuch(t *testing.T, s *upstreamServer, service *execService, way string) {
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 4<<20/16)
	var out bytes.Buffer
	if err := execRun(t, s, s.token, way, remotecommand.StreamOptions{Stdin: bytes.NewReader(sent), Stdout: &out}, "cat"); err != nil {
		t.Error(err)
	}
	if sha256.Sum256(out.Bytes()) != sha256.Sum256(sent) {
		t.Errorf("%d bytes came back, want %d", out.Len(), len(sent))
	}
	execExpectSeen(t, s, service, execMethods[way], way)
}

// execTalk sends a line when the one before it has been answered.
func execTalk(t *testing.T, s *upstreamServer, service *execService, way string) {
	stdin, toStdin := io.Pipe()
	fromStdout, stdout := io.Pipe()
	done := make(chan error, 1)
	go func() {
		defer stdout.Close()
		defer stdin.Close()
		done <- execRun(t, s, s.token, way, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout}, "cat")
	}()
	for i := range 20 {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(toStdin, line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(fromStdout, got); err != nil || string(got) != line {
			t.Fatalf("%q, %v", got, err)
		}
	}
	toStdin.Close()
	if err := upstreamTake(t, done); err != nil {
		t.Error(err)
	}
	execExpectSeen(t, s, service, execMethods[way], way)
}

// execRefused shows that an upgrade that is refused does not reach the upstream, and that each method asks for a verb of
// its own.
func execRefused(t *testing.T, s *upstreamServer, service *execService, way string) {
	other := map[string]string{"SPDY/3.1": "get", "websocket": "create"}[way] // what the other way needs
	out := s.cluster.CreateServiceAccount(t, "upstream-out")
	s.cluster.Grant(t, out.Subject(), harness.Nodes(other, "proxy"))
	for token, want := range map[string]string{"": "unauthorized", "rubbish": "unauthorized", s.cluster.RequestToken(t, out, 0): "forbidden"} {
		err := execRun(t, s, token, way, remotecommand.StreamOptions{Stdout: io.Discard}, "true")
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%.8s: %v, want %s", token, err, want)
		}
	}
	if len(service.seen) > 0 {
		t.Errorf("the upstream saw %v", upstreamTake(t, service.seen))
	}
}

// TestUpstreamKubectlExec shows kubectl exec: it asks the API server, which asks the node of the pod. That is our server,
// which knows the API server by its certificate, in front of an upstream that runs commands.
func TestUpstreamKubectlExec(t *testing.T) {
	c := theCluster(t)
	service := startExec(t)
	flags := append(pageGuarded(c), "--upstream="+service.url, "--upstream-paths=/exec", "--upstream-identity-headers")
	s := startPageServerAt(t, c, ours.Options{Address: harness.RequireNodeAddress(t)}, flags...)
	c.CreateNode(t, s.node, s.Address, s.Port)
	pod := createPodOn(t, c, s.node)
	cmd := exec.CommandContext(t.Context(), c.Programs.Kubectl, "--kubeconfig="+c.AdminKubeconfig, "exec", "-i", pod, "--", "sh", "-c", "cat; echo to stderr >&2; exit 7")
	cmd.Env = harness.Environment(t.TempDir())
	cmd.Stdin = strings.NewReader("from stdin\n")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 7 || out.String() != "from stdin\n" || !strings.HasPrefix(errs.String(), "to stderr\n") {
		t.Fatalf("kubectl ended with %v: stdout is %q, stderr is %q", err, out.String(), errs.String())
	}
	r := upstreamTake(t, service.seen)
	if r.Header.Get("X-Remote-User") != harness.KubeletClientUser || r.URL.Path != "/exec/default/"+pod+"/container" {
		t.Errorf("the upstream saw %s by %q", r.URL, r.Header.Get("X-Remote-User"))
	}
}

// createPodOn makes a pod of a node, for the length of the test. Nothing runs it.
func createPodOn(t *testing.T, c *harness.Cluster, node string) (name string) {
	t.Helper()
	pods := c.Admin.CoreV1().Pods(harness.Namespace)
	pod, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "upstream-"},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "container", Image: "none"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pods.Delete(context.Background(), pod.Name, *metav1.NewDeleteOptions(0))
	})
	return pod.Name
}
