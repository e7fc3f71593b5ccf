//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a command in a process group of its own, which ends with the test.
func process(t *testing.T, dir, name string, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	command := exec.Command(name, args...)
	command.Dir = dir
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		command.Wait()
	})
	return command, stderr
}

// waitFor reads lines until one contains text.
func waitFor(t *testing.T, r io.Reader, text string) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			go io.Copy(io.Discard, r)
			return
		}
	}
	t.Fatalf("the process ended before it said %q", text)
}

func TestSignals(t *testing.T) {
	binary := build(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		server, stderr := process(t, "", binary, "--port", strconv.Itoa(freePort(t)))
		waitFor(t, stderr, "msg=Serving")
		server.Process.Signal(signal)
		if err := server.Wait(); err != nil {
			t.Errorf("after %v: %v", signal, err)
		}
	}

}

// The program of the Dockerfile serves on an empty file system, as the user that
// the image names.
func TestImage(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root on Linux can run a program on an empty file system")
	}
	root := t.TempDir()
	if err := os.Rename(buildAsImage(t), filepath.Join(root, "kubeletauth")); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("/kubeletauth", "--anonymous-auth=false", "--port="+strconv.Itoa(freePort(t)), "--healthz-port=0")
	server.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	server.Dir = "/"
	stderr, err := server.StderrPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Process.Kill()
	waitFor(t, stderr, "msg=Serving")
	server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

// draining is a server with a request under way, which is over when the rest of its
// body has come, or conn is closed.
func draining(t *testing.T, flags ...string) (server *exec.Cmd, conn *tls.Conn) {
	port := freePort(t)
	server, stderr := process(t, "", build(t), append(flags, "--port", strconv.Itoa(port))...)
	waitFor(t, stderr, "msg=Serving")
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	time.Sleep(100 * time.Millisecond)
	return server, conn
}

func TestSecondSignal(t *testing.T) {
	server, _ := draining(t)
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	server.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		t.Fatalf("one signal cut a request that was under way: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	server.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the second signal ended it as the first does")
		}
	case <-time.After(10 * time.Second):
		t.Error("the second signal did not end it at once")
	}
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// The README's transcripts are what happens, but for the ports.
func TestReadmeTranscripts(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl here")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) < 2 || !bytes.Contains(bytes.Join(bytes.Split(readme, []byte("\n"))[:25], []byte("\n")), blocks[0][0]) {
		t.Fatal("the README's first 25 lines have no transcript")
	}
	ports := map[string]string{"10250": strconv.Itoa(freePort(t)), "10251": strconv.Itoa(freePort(t))}
	for _, block := range blocks {
		play(t, string(block[1]), ports)
	}
}

// The README's other commands do what it says of them: with the files and addresses
// of a town in place of a node's, and a kubectl that keeps what it is given.
func TestReadmeCommands(t *testing.T) {
	w := newTown(t)
	w.api.AllowUser("jane", "get", "metrics")
	w.write("config.yaml", []byte(configHead+"authentication: {x509: {clientCAFile: ca.crt}}\n"))
	w.write("kubectl", []byte("#!/bin/sh\n[ \"$*\" = 'apply -f -' ] && cat >"+w.dir+"/applied\n"))
	if err := os.Chmod(filepath.Join(w.dir, "kubectl"), 0o700); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	binary, seen := build(t), map[string]int{}
	local := strings.NewReplacer("go run ./cmd/server ", "server ", "/etc/kubernetes/pki/ca.crt", w.dir+"/ca.crt", "/etc/kubernetes/kubelet.conf", w.dir+"/kubeconfig",
		"/var/lib/kubelet/config.yaml", w.dir+"/config.yaml", "0.0.0.0", "127.0.0.1", "=token", "="+w.dir+"/token", "\\\n", " ")
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(readme, -1) {
		for command := range strings.Lines(local.Replace(string(block[1]))) {
			args := strings.Fields(strings.TrimPrefix(command, "server "))
			run := func() string {
				shell := exec.Command("bash", "-c", strings.Replace(command, "server", binary, 1))
				shell.Env = append(os.Environ(), "PATH="+w.dir+":"+os.Getenv("PATH"))
				out, _ := shell.CombinedOutput() // a check may have something to say against a town
				return string(out)
			}
			seen[args[0]]++
			switch {
			case args[0] == "rbac":
				run()
				if applied, err := os.ReadFile(filepath.Join(w.dir, "applied")); err != nil || string(applied) != rbacOutput(t, "--service-account=kubeletauth", "--namespace=kube-system") {
					t.Errorf("%s applies %s (%v)", command, applied, err)
				}
			case args[0] == "check":
				if out := run(); !strings.Contains(out, "What jane may do:") || strings.Contains(out, "failed") {
					t.Errorf("%s prints\n%s", command, out)
				}
			case args[0] == "explain":
				if out := run(); !strings.Contains(out, "passes") {
					t.Errorf("%s prints\n%s", command, out)
				}
			case strings.HasPrefix(args[0], "--"):
				_, stderr := process(t, "", binary, append(args, "--healthz-port=0", "--port="+strconv.Itoa(freePort(t)))...)
				waitFor(t, stderr, "msg=Serving")
			case command == "go -C testdata/e2e test -timeout=30m ./...\n": // which .ci/run does
			default:
				t.Errorf("nothing tries %s", command)
			}
		}
	}
	if len(seen) < 5 || seen["--anonymous-auth=false"] != 2 {
		t.Errorf("the README has only the commands %v", seen)
	}
}

// The Go commands that the README names in passing are there.
func TestReadmePaths(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`(?:go run )?\\.?/?((?:cmd|kubeletapi|authn|authz|testdata|\\.ci)(?:/[-\\w./]+)?)`").FindAllSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join("../..", string(m[1]))); err != nil {
			t.Error(err)
		}
	}
}

// play runs the commands of a transcript and compares what they print. Servers
// go on until the test ends. Ports are replaced by others, that are free.
func play(t *testing.T, transcript string, ports map[string]string) {
	port := "10250"
	if strings.Contains(transcript, "10251") {
		port = "10251"
	}
	transcript = strings.ReplaceAll(strings.ReplaceAll(transcript, " --port="+port, ""), port, ports[port])
	for step := range strings.SplitSeq(transcript, "$ ") {
		command, want, _ := strings.Cut(step, "\n")
		switch server, background := strings.CutSuffix(command, " &"); {
		case command == "":
		case background:
			_, stderr := process(t, "../..", "bash", "-c", server+" --port="+ports[port])
			waitFor(t, stderr, "msg=Serving")
		default:
			out, err := exec.Command("bash", "-c", strings.Replace(command, "curl", "curl -sS", 1)).CombinedOutput()
			if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != strings.TrimSuffix(want, "\n") {
				t.Errorf("%s printed %q (%v), the README says %q", command, got, err, want)
			}
		}
	}
}
