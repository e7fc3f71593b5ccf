package kubeclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/authn"
)

// pluginMain is the credential plugin of these tests: this test binary, told by
// an environment variable what to do. It appends its input to the file $RUNS and
// answers with the contents of $ANSWER.
func pluginMain(mode string) int {
	if runs := os.Getenv("RUNS"); runs != "" {
		f, err := os.OpenFile(runs, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return 9
		}
		fmt.Fprintln(f, os.Getenv("KUBERNETES_EXEC_INFO"), os.Args[1:])
		f.Close()
	}
	switch mode {
	case "fail":
		fmt.Fprintf(os.Stderr, "no luck with SECRET and %s\n%s", os.Getenv("PASSWORD"), strings.Repeat("y", 1<<20))
		return 3
	case "flood":
		for range 2 << 10 {
			os.Stdout.Write(make([]byte, 1<<10))
		}
		return 0
	case "hang":
		time.Sleep(time.Hour)
	case "linger":
		time.Sleep(8 * time.Second)
		return 0
	case "parent":
		child := exec.Command(os.Args[0])
		child.Env, child.Stdout = []string{"KUBECLIENT_TEST_PLUGIN=linger"}, os.Stdout
		if child.Start() != nil {
			return 6
		}
	case "wait":
		for _, err := os.Stat(os.Getenv("ANSWER")); err != nil; _, err = os.Stat(os.Getenv("ANSWER")) {
			time.Sleep(10 * time.Millisecond)
		}
	case "slow":
		time.Sleep(500 * time.Millisecond)
	case "stdin":
		if n, _ := os.Stdin.Read(make([]byte, 1)); n > 0 {
			return 8
		}
	}
	answer, err := os.ReadFile(os.Getenv("ANSWER"))
	if err != nil {
		return 7
	}
	os.Stdout.Write(answer)
	return 0
}

// execUser is the user of a kubeconfig with the plugin above.
func (w *world) execUser(mode string, more ...string) string {
	self, err := os.Executable()
	must(w.t, err)
	fields := append([]string{
		"apiVersion: " + execV1, "interactiveMode: Never", fmt.Sprintf("command: %q", self), "args: [get, token]",
		fmt.Sprintf("env: [{name: GORACE, value: atexit_sleep_ms=0}, {name: KUBECLIENT_TEST_PLUGIN, value: %s}, {name: PASSWORD, value: %s}, {name: RUNS, value: %q}, {name: ANSWER, value: %q}]",
			mode, ourPassword, filepath.Join(w.folder, "runs"), filepath.Join(w.folder, "answer")),
	}, more...)
	return "exec: {" + strings.Join(fields, ", ") + "}"
}

// runs returns the inputs of the plugin, one for each run.
func (w *world) runs() []string {
	content, err := os.ReadFile(filepath.Join(w.folder, "runs"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

func execAnswer(status string) string {
	return `{"kind":"ExecCredential","apiVersion":"` + execV1 + `","status":` + status + `}`
}

func execToken(token string, life time.Duration) string {
	return execAnswer(fmt.Sprintf(`{"token":%q,"expirationTimestamp":%q}`, token, time.Now().Add(life).UTC().Format(time.RFC3339Nano)))
}

func TestPluginGivesAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("answer", execAnswer(`{"token":"`+ourToken+`","unknown":1}`))
	c := w.client(w.kubeconfig(w.execUser("stdin")))
	if len(w.runs()) != 0 {
		t.Error("New ran the plugin")
	}
	mustReview(t, c)
	mustReview(t, c)
	for _, s := range w.arrived() {
		if s.authorization != "Bearer "+ourToken || s.certificate != "" {
			t.Errorf("authorized by %q and certificate %q", s.authorization, s.certificate)
		}
	}
	want := []string{`{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}} [get token]`}
	if diff := cmp.Diff(want, w.runs()); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

func TestPluginGivesACertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	give := func(p pair, life time.Duration) {
		status, err := json.Marshal(map[string]any{"clientCertificateData": string(p.cert), "clientKeyData": string(p.key), "expirationTimestamp": time.Now().Add(life)})
		must(t, err)
		w.write("answer", execAnswer(string(status)))
	}
	give(w.ca.issue(t, "first"), 1500*time.Millisecond)
	c := w.client(w.kubeconfig(w.execUser("")))
	mustReview(t, c)
	give(w.ca.issue(t, "second"), time.Hour)
	time.Sleep(1600 * time.Millisecond)
	mustReview(t, c)
	mustReview(t, c)
	var got []string
	for _, s := range w.arrived() {
		got = append(got, s.certificate)
	}
	if diff := cmp.Diff([]string{"first", "first", "second", "second", "second", "second"}, got); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}
}

func TestPluginIsToldOfTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("answer", strings.Replace(execToken(ourToken, time.Hour), execV1, execV1beta1, 1))
	user := strings.Replace(w.execUser("", "provideClusterInfo: true"), execV1, execV1beta1, 1)
	c := w.client(w.kubeconfig(user, "tls-server-name: api.example", "disable-compression: true",
		"extensions: [{name: other, extension: 1}, {name: client.authentication.k8s.io/exec, extension: {audience: x}}]"))
	mustReview(t, c)
	info, _, _ := strings.Cut(w.runs()[0], " ")
	want := `{"kind":"ExecCredential","apiVersion":"` + execV1beta1 + `","spec":{"cluster":{"server":"` + w.URL + `","tls-server-name":"api.example","certificate-authority-data":"` +
		b64(w.ca.cert) + `","disable-compression":true,"config":{"audience":"x"}},"interactive":false}}`
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("KUBERNETES_EXEC_INFO (-want +got):\n%s", diff)
	}
}

func TestPluginFailures(t *testing.T) {
	t.Parallel()
	good := execAnswer(`{"token":"` + ourToken + `"}`)
	certificate, err := json.Marshal(map[string]string{"clientCertificateData": "SECRET", "clientKeyData": "SECRET"})
	must(t, err)
	for _, test := range []struct{ name, mode, answer, want string }{
		{"exit code", "fail", "", "exit status 3: run it by hand to see what it says"},
		{"hint", "fail", "", "(Install it from the usual place)"},
		{"too much", "flood", "", "it wrote more than 1048576 bytes"},
		{"a child that keeps stdout", "parent", good, "kept its standard output open for 5s more"},
		{"nothing", "", "", "did not write an ExecCredential in JSON"},
		{"no JSON", "", "SECRET", "did not write an ExecCredential in JSON"},
		{"more than one", "", good + good, "did not write an ExecCredential in JSON"},
		{"another kind", "", strings.Replace(good, "ExecCredential", "Status", 1), "did not write an ExecCredential of that"},
		{"another version", "", strings.Replace(good, execV1, execV1beta1, 1), "configured to use apiVersion client.authentication.k8s.io/v1,"},
		{"no status", "", `{"kind":"ExecCredential","apiVersion":"` + execV1 + `"}`, "did not return a token or a certificate and key"},
		{"an empty status", "", execToken("", time.Hour), "did not return a token or a certificate and key"},
		{"half a pair", "", execAnswer(`{"token":"SECRET","clientKeyData":"SECRET"}`), "only one of certificate and key"},
		{"a bad pair", "", execAnswer(string(certificate)), "client-certificate and client-key: tls:"},
		{"a bad token", "", execAnswer(`{"token":"SECRET\n"}`), "a control character"},
		{"a bad time", "", execAnswer(`{"token":"SECRET","expirationTimestamp":"SECRET"}`), "with times as RFC 3339 has them"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("answer", test.answer)
			c := w.client(w.kubeconfig(w.execUser(test.mode, `installHint: "Install it\nfrom the usual place"`)))
			status, err := reviewToken(c)
			mustFail(t, err, test.want)
			if status != nil || len(w.arrived()) > 0 {
				t.Errorf("status %v and %d requests beside an error", status, len(w.arrived()))
			}
			_, again := reviewToken(c)
			if again == nil || again.Error() != err.Error() || len(w.runs()) != 1 {
				t.Errorf("%v after %d runs, want the same error again after one", again, len(w.runs()))
			}
			mustHide(t, w.log.text())
		})
	}
}

func TestPluginIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(w.kubeconfig("exec: {apiVersion: " + execV1 + ", interactiveMode: Never, command: ./none, installHint: Get it}"))
	_, err := reviewToken(c)
	mustFail(t, err, "(Get it)")
	mustFail(t, err, filepath.Join(w.folder, "none"))
}

func TestPluginRecovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("answer", "")
	c := w.client(w.kubeconfig(w.execUser("")))
	if _, err := reviewToken(c); err == nil {
		t.Fatal("no error")
	}
	w.write("answer", execToken(ourToken, time.Hour))
	time.Sleep(pluginPause)
	mustReview(t, c)
}

func TestPluginRunsOnceForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("answer", execToken(ourToken, time.Hour))
	c := w.client(w.kubeconfig(w.execUser("slow")))
	var wg sync.WaitGroup
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wg.Go(func() {
		_, err := c.ReviewToken(impatient, authn.TokenReviewSpec{Token: theirToken})
		mustFail(t, err, "waiting for credential plugin")
	})
	time.Sleep(10 * time.Millisecond) // so that the impatient one started the run
	for range 20 {
		wg.Go(func() {
			if _, err := reviewToken(c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(w.runs()); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
}

// Who asks while a plugin hangs is told so when a review's time is over, and the
// plugin is not run again meanwhile. All is well as soon as it answers.
func TestPluginHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config(w.kubeconfig(w.execUser("wait")))
	cfg.Timeout = 300 * time.Millisecond
	c, err := New(cfg)
	must(t, err)
	defer c.Close()
	self, err := os.Executable()
	must(t, err)
	for range 3 {
		start := time.Now()
		_, err := reviewToken(c)
		mustFail(t, err, fmt.Sprintf("waiting for credential plugin %q: context deadline exceeded", self))
		if took := time.Since(start); took < cfg.Timeout || IsUnavailable(err) {
			t.Errorf("%v after %v: want it after %v, and the API server not to blame", err, took, cfg.Timeout)
		}
	}
	if runs, requests := len(w.runs()), len(w.arrived()); runs != 1 || requests != 0 {
		t.Errorf("%d runs and %d requests, want 1 and none", runs, requests)
	}
	w.write("answer", execToken(ourToken, time.Hour))
	for start := time.Now(); ; {
		if _, err = reviewToken(c); err == nil || time.Since(start) > 20*time.Second {
			break
		}
	}
	must(t, err)
	if runs := len(w.runs()); runs != 1 {
		t.Errorf("%d runs, want 1", runs)
	}
	mustHide(t, w.log.text())
}

func TestPluginRunsAheadOfTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &plugin{exec: execPlugin{}, runs: new(pluginRuns)}
	now := time.Now()
	for _, test := range []struct{ life, ahead time.Duration }{{time.Hour, renewAhead}, {50 * time.Second, 5 * time.Second}} {
		end := now.Add(test.life)
		must(t, p.acceptLocked(&execStatus{Token: "t", ExpirationTimestamp: &end}, now))
		if got := p.expires.Sub(p.renew); got != test.ahead {
			t.Errorf("a life of %v: renewed %v before its end, want %v", test.life, got, test.ahead)
		}
	}
	past := now.Add(-time.Hour)
	must(t, p.acceptLocked(&execStatus{Token: "t", ExpirationTimestamp: &past}, now))
	if got := p.expires.Sub(now); got != pluginPause {
		t.Errorf("a credential that has ended lasts %v, want %v", got, pluginPause)
	}
	p.retire() // while a run brings another certificate
	fresh := w.ca.issue(t, "fresh")
	must(t, p.acceptLocked(&execStatus{ClientCertificateData: string(fresh.cert), ClientKeyData: string(fresh.key)}, now))
	if !p.last.retired.Load() {
		t.Error("the connection of a plugin that was let go of stays")
	}
	w.write("answer", execToken("first", time.Hour))
	c := w.client(w.kubeconfig(w.execUser("slow")))
	mustReview(t, c)
	w.write("answer", execToken("second", time.Hour))
	s, err := c.session()
	must(t, err)
	s.plugin.mu.Lock()
	s.plugin.renew = time.Now() // an hour later
	s.plugin.mu.Unlock()
	for waited := 0; ; waited++ {
		cred, err := s.credential(t.Context())
		must(t, err)
		if cred.secret() == "second" {
			if waited == 0 {
				t.Error("the caller waited for the renewal")
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := len(w.runs()); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
}

func TestPluginAfter401(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("answer", execToken("first", time.Hour))
	c := w.client(w.kubeconfig(w.execUser("")))
	mustReview(t, c)
	w.setAnswer(func(n int, s seen, rw http.ResponseWriter) {
		if s.authorization != "Bearer second" {
			send(rw, 401, "")
			return
		}
		yes(n, s, rw)
	})
	w.write("answer", execToken("second", time.Hour))
	mustReview(t, c)
	if runs, requests := len(w.runs()), len(w.arrived()); runs != 2 || requests != 3 {
		t.Errorf("%d runs and %d requests, want 2 and 3", runs, requests)
	}
	w.setAnswer(with(401, ""))
	start := time.Now()
	for range 4 {
		_, err := reviewToken(c)
		mustFail(t, err, "401 (Unauthorized)")
	}
	if runs, most := len(w.runs()), 3+int(time.Since(start)/pluginPause); runs > most {
		t.Errorf("%d runs after more refusals, want %d at most: one in a second", runs, most)
	}
}

func TestPluginEndsWithTheClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(w.kubeconfig(w.execUser("hang")))
	failed := make(chan error)
	go func() {
		_, err := reviewToken(c)
		failed <- err
	}()
	for len(w.runs()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	start := time.Now()
	c.Close()
	mustFail(t, <-failed, "signal: killed")
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestPluginSurvivesAReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("answer", execToken(ourToken, time.Hour))
	c := w.client(w.kubeconfig(w.execUser("")))
	mustReview(t, c)
	w.kubeconfig(w.execUser("") + "} # another user, and\n- name: v\n  user: {")
	s := c.files.reload()
	mustReview(t, c)
	if len(w.runs()) != 1 {
		t.Errorf("%d runs, want the credential kept", len(w.runs()))
	}
	w.kubeconfig(w.execUser("", "installHint: x"))
	changed := c.files.reload()
	mustReview(t, c)
	if len(w.runs()) != 2 || changed.plugin == s.plugin {
		t.Errorf("%d runs, want another for another plugin", len(w.runs()))
	}
}
