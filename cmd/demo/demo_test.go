package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// locked is a buffer that is written and read at the same time.
type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// running is a demo that runs.
type running struct {
	guide, dir, url string
	log             *locked
	stop            func() int // returns the exit code; may be called again
}

var guided = regexp.MustCompile(`\n  (.*)[/\\]policy\.json\n`)

func start(t *testing.T) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, log := new(locked), new(locked)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"--port=0", "--api-server-port=0"}, out, log) }()
	stop := sync.OnceValue(func() int { cancel(); return <-ended })
	t.Cleanup(func() { stop() })
	await(t, func() string {
		select {
		case code := <-ended:
			ended <- code
			t.Fatalf("exit code %d: %s", code, log)
		default:
		}
		if !guided.MatchString(out.String()) {
			return "no guide yet"
		}
		return ""
	})
	guide := out.String()
	return &running{guide, guided.FindStringSubmatch(guide)[1], regexp.MustCompile(`https://[^/]*`).FindString(guide), log, stop}
}

// await waits until problem returns none.
func await(t *testing.T, problem func() string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text := problem()
		if text == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(text)
		}
	}
}

// get asks as a user of the policy, with the file that is there for curl.
func (r *running) get(t *testing.T, user, path string) string {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(r.dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	request, _ := http.NewRequest("GET", r.url+path, nil)
	header, err := os.ReadFile(filepath.Join(r.dir, user+".header"))
	if err != nil {
		return err.Error()
	}
	_, value, _ := strings.Cut(strings.TrimSpace(string(header)), ": ")
	request.Header.Set("Authorization", value)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(request)
	if err != nil {
		return err.Error()
	}
	response.Body.Close()
	return fmt.Sprint(response.StatusCode)
}

// Every line that is printed is answered as it says.
func TestPrintedLines(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil || runtime.GOOS == "windows" {
		t.Skip("there is no curl here, or no shell; the demo itself has tried the lines")
	}
	r := start(t)
	printed := regexp.MustCompile(`(?m)^# .*: (\d{3})(?: (.*))?\n(curl .*)$`).FindAllStringSubmatch(r.guide, -1)
	if len(printed) != len(lines()) || strings.Count(r.guide, "curl") != len(printed) {
		t.Fatalf("%d lines are printed of %d:\n%s", len(printed), len(lines()), r.guide)
	}
	statuses := map[string]bool{}
	for _, m := range printed {
		status, body, command := m[1], m[2], m[3]
		statuses[status] = true
		shell := exec.Command("sh", "-c", command)
		shell.Env = []string{"PATH=" + os.Getenv("PATH")} // no proxy
		out, err := shell.CombinedOutput()
		text := strings.TrimSpace(string(out))
		if err != nil || !strings.HasSuffix(text, "\n"+status) || body != "" && strings.TrimSpace(strings.TrimSuffix(text, status)) != body {
			t.Errorf("%s\nprinted %q (%v), want %s %q", command, text, err, status, body)
		}
	}
	for _, status := range []string{"200", "400", "401", "403", "404"} {
		if !statuses[status] {
			t.Errorf("no line shows %s", status)
		}
	}
}

// An edit of the policy shows, and one that cannot be used changes nothing.
func TestEdits(t *testing.T) {
	r := start(t)
	file := filepath.Join(r.dir, "policy.json")
	edit := func(old, new string) {
		content, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(content, []byte(old)) {
			t.Fatalf("%q is not in the policy (%v): %s", old, err, content)
		}
		if err := os.WriteFile(file, bytes.Replace(content, []byte(old), []byte(new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	becomes := func(user, path, want string) {
		t.Helper()
		await(t, func() string {
			if got := r.get(t, user, path); !strings.Contains(got, want) {
				return fmt.Sprintf("%s gets %s of %s, want %s: %s", user, got, path, want, r.log)
			}
			return ""
		})
	}
	becomes("jane", "/stats/summary", "403")
	edit(`["nodes/metrics"]`, `["nodes/metrics", "nodes/stats"]`)
	becomes("jane", "/stats/summary", "200")

	edit(`"users": [`, `"usres": [`)
	await(t, func() string {
		if !strings.Contains(r.log.String(), "cannot be used") {
			return "a mistake is not told: " + r.log.String()
		}
		return ""
	})
	becomes("jane", "/stats/summary", "200")
	edit(`"usres": [`, `"users": [{"username": "bob", "groups": ["developers"]},`)
	becomes("bob", "/logs/demo.log", "200")
	becomes("bob", "/metrics", "403")

	header, _ := os.ReadFile(filepath.Join(r.dir, "bob.header"))
	edit(`{"username": "bob", "groups": ["developers"]},`, "")
	becomes("bob", "/metrics", "no such file")
	if os.WriteFile(filepath.Join(r.dir, "bob.header"), header, 0o600) != nil {
		t.Fatal("cannot bring bob's token back")
	}
	becomes("bob", "/metrics", "401")
}

// What is written is for its user alone, and is gone at the end. No token is in
// any output.
func TestFolder(t *testing.T) {
	r := start(t)
	var tokens []string
	err := filepath.WalkDir(r.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %s", path, info.Mode())
		}
		if filepath.Ext(path) == ".header" {
			content, _ := os.ReadFile(path)
			tokens = append(tokens, strings.Fields(string(content))[2])
		}
		return err
	})
	if err != nil || len(tokens) != 3 {
		t.Errorf("%v, %d tokens", err, len(tokens))
	}
	if kubeconfig, _ := os.ReadFile(filepath.Join(r.dir, "kubeconfig")); len(kubeconfig) > 0 {
		tokens = append(tokens, regexp.MustCompile(`token: "(.*)"`).FindStringSubmatch(string(kubeconfig))[1])
	}
	r.get(t, "mallory", "/metrics") // is logged
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, r.log)
	}
	for _, token := range tokens {
		if strings.Contains(r.guide+r.log.String(), token) {
			t.Error("a token is in the output")
		}
	}
	if !strings.Contains(r.log.String(), "user=mallory") {
		t.Errorf("a refusal is not logged: %s", r.log)
	}
	if _, err := os.Stat(r.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is there after the end: %v", err)
	}
}

func TestParsePolicy(t *testing.T) {
	for _, tt := range []struct{ policy, want string }{
		{`{}`, ""},
		{string(firstPolicy), ""},
		{`{"users": [{"username": "a-1.b"}]}`, ""},
		{``, "line 1: unexpected end"},
		{"{\n\n\"users\": [,]}", "line 3: invalid character"},
		{"{}\n{}", "line 2: invalid character"},
		{`{} x`, "line 1: invalid character"},
		{`[]`, "array"},
		{`{"user": []}`, `unknown field "user"`},
		{`{"rules": [{"verb": ["get"]}]}`, `unknown field "verb"`},
		{`{"users": [{"name": "x"}]}`, `unknown field "name"`},
		{`{"users": [{}]}`, `username ""`},
		{`{"users": [{"username": "../x"}]}`, `username "../x"`},
		{`{"users": [{"username": ".x"}]}`, `username ".x"`},
		{`{"users": [{"username": "X"}]}`, `username "X"`},
		{`{"users": [{"username": "x\n"}]}`, `username "x\n"`},
		{`{"users": [{"username": "` + strings.Repeat("x", 64) + `"}]}`, "username"},
		{`{"users": [{"username": "x"}, {"username": "x"}]}`, "twice"},
	} {
		_, err := parsePolicy([]byte(tt.policy))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.50s: %v, want %q", tt.policy, err, tt.want)
		}
	}
}

// A line that is answered otherwise is told apart, and ends the demo.
func TestCheck(t *testing.T) {
	err := demo(t.Context(), 0, 0, slog.New(slog.DiscardHandler), func(w *world) error {
		for _, wrong := range []line{
			{who: "jane", method: "GET", path: "/metrics", status: 403},
			{who: "", method: "GET", path: "/metrics", status: 200},
			{who: "", method: "GET", path: "/metrics", status: 401, body: "Unauthorised"},
			{who: apiServerUser, method: "GET", path: "/healthz", status: 401},
		} {
			if w.check(wrong) == nil {
				t.Errorf("%+v is taken for true", wrong)
			}
		}
		w.apiServer.SetRules()
		if err := w.guide(io.Discard); err == nil || !strings.Contains(err.Error(), "curl") {
			t.Errorf("a guide that is wrong: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	r := start(t)
	port := r.url[strings.LastIndex(r.url, ":")+1:]
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"-h", 0, "-api-server-port"},
		{"--bogus", 2, "-bogus"},
		{"--port=x", 2, "-port"},
		{"start", 2, `"start"`},
		{"--api-server-port=0 --port=" + port, 1, "demo: --port:"},
		{"--port=0 --api-server-port=" + port, 1, "demo: --api-server-port:"},
		{"--port=0 --api-server-port=-1", 1, "demo: --api-server-port:"},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(tt.args), io.Discard, &stderr); code != tt.code || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%s: exit code %d, %s", tt.args, code, stderr.String())
		}
	}
}

// Signals end the program in order.
func TestSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a signal cannot be sent here")
	}
	binary := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program := exec.Command(binary, "--port=0", "--api-server-port=0")
	stdout, err := program.StdoutPipe()
	if err == nil {
		err = program.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	dir := ""
	for scanner := bufio.NewScanner(stdout); dir == "" && scanner.Scan(); {
		if found, ok := strings.CutSuffix(scanner.Text(), "/policy.json"); ok {
			dir = strings.TrimSpace(found)
		}
	}
	program.Process.Signal(os.Interrupt)
	io.Copy(io.Discard, stdout)
	if err := program.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); dir == "" || !os.IsNotExist(err) {
		t.Errorf("the folder %q is there after the end: %v", dir, err)
	}
}
