package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kubeletauth/kubeletapi/internal/machine"
)

// recorded is where the machines of the golden tests are. A machine is one text
// file: what it is, then its files, each after a line "-- path --". Those below
// "later" replace them 10 seconds after the start. A line "-- statfs path --"
// comes before the size of the file system there: the fields of machine.Space.
//
// With KUBELETAUTH_UPDATE=1 in the environment, what is answered now becomes
// what is wanted.
const recorded = "../../testdata/node/"

// TestMachine compares all answers of the recorded machines, 10 seconds after
// the start.
func TestMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has such files")
	}
	machines, err := filepath.Glob(recorded + "*.txt")
	if err != nil || len(machines) != 4 {
		t.Fatal(machines, err)
	}
	for _, file := range machines {
		name := strings.TrimSuffix(file, ".txt")
		t.Run(filepath.Base(name), func(t *testing.T) {
			root := t.TempDir()
			reader, later := unpack(t, file, root)
			synctest.Test(t, func(t *testing.T) {
				m := newMachineAPI(API{NodeName: "node-1"}, reader)
				later()
				time.Sleep(10 * time.Second)
				for golden, body := range map[string]string{
					".summary.json":        answerOf(t, m.summary, "GET", "/stats/summary", ""),
					".cpu_and_memory.json": answerOf(t, m.summary, "GET", "/stats/summary?only_cpu_and_memory=true", ""),
					".spec.json":           answerOf(t, m.spec, "GET", "/spec/", ""),
					".resource.prom":       answerOf(t, m.resource, "GET", "/metrics/resource", ""),
				} {
					compare(t, name+golden, body)
				}
			})
		})
	}
}

// TestSummaryOnly asks for only the CPU and memory, or means to.
func TestSummaryOnly(t *testing.T) {
	m := newMachineAPI(API{NodeName: "node-1"}, &machine.Reader{Root: busy(t)})
	for _, row := range []struct {
		method, query, form string
		code                int
		network             bool
	}{
		{"GET", "", "", 200, true},
		{"GET", "?only_cpu_and_memory=true", "", 200, false},
		{"GET", "?only_cpu_and_memory=true&pretty=1", "", 200, false},
		{"GET", "?only_cpu_and_memory=%74rue", "", 200, false},
		{"GET", "?only_cpu_and_memory=True", "", 200, true},
		{"GET", "?only_cpu_and_memory=1", "", 200, true},
		{"GET", "?only_cpu_and_memory", "", 200, true},
		{"GET", "?only_cpu_and_memory=true&only_cpu_and_memory=true", "", 200, true},
		{"GET", "", "only_cpu_and_memory=true", 200, true}, // a GET has no form
		{"HEAD", "?only_cpu_and_memory=true", "", 200, false},
		{"POST", "?only_cpu_and_memory=true", "", 200, false},
		{"POST", "", "only_cpu_and_memory=true", 200, false},
		{"POST", "?only_cpu_and_memory=true", "only_cpu_and_memory=true", 200, true}, // two of them
		{"POST", "", `{"only_cpu_and_memory":true}`, 200, true},
		{"GET", "?only_cpu_and_memory=%zz", "", 400, false},
		{"GET", "?only_cpu_and_memory=true;a=b", "", 400, false},
		{"POST", "", "%zz", 400, false},
		{"POST", "", "a=" + strings.Repeat("b", 64<<10), 400, false},
	} {
		w := do(m.summary, row.method, "/stats/summary"+row.query, row.form)
		if got := strings.Contains(w.Body.String(), `"network"`); w.Code != row.code || got != row.network {
			t.Errorf("%s %s %.40q: %d, with network: %t", row.method, row.query, row.form, w.Code, got)
		}
	}
}

// busy is a machine that knows of its CPU and network alone.
func busy(t *testing.T) (root string) {
	root = t.TempDir()
	put(t, filepath.Join(root, "sys/fs/cgroup/cpu.stat"), "usage_usec 5\n")
	put(t, filepath.Join(root, "proc/net/dev"), "eth0: 1 0 2 0 0 0 0 0 3 0 4 0 0 0 0 0\n")
	return root
}

// TestResourceError wants that metrics of what is not known are left out, and
// are an error if they are those of the CPU or the memory.
func TestResourceError(t *testing.T) {
	idle := t.TempDir()
	put(t, filepath.Join(idle, "sys/fs/cgroup/memory.current"), "3\n")
	put(t, filepath.Join(idle, "sys/fs/cgroup/cpu.stat"), "usage_usec x\n")
	put(t, filepath.Join(idle, "sys/fs/cgroup/memory.stat"), "anon 1\ninactive_file 1\n")
	for _, row := range []struct{ root, names, result string }{
		{t.TempDir(), "resource_scrape_error", "1"},
		{idle, "node_memory_working_set_bytes resource_scrape_error", "1"},
		{busy(t), "node_cpu_usage_seconds_total resource_scrape_error", "1"},
	} {
		body := answerOf(t, newMachineAPI(API{NodeName: "node-1"}, &machine.Reader{Root: row.root}).resource, "GET", "/metrics/resource", "")
		var names []string
		for line := range strings.Lines(body) {
			if name, _, _ := strings.Cut(line, " "); name != "#" {
				names = append(names, name)
			}
		}
		if strings.Join(names, " ") != row.names || !strings.HasSuffix(body, "\nresource_scrape_error "+row.result+"\n") {
			t.Errorf("want %s and the error %s:\n%s", row.names, row.result, body)
		}
	}
}

// compare wants that body is what the file says.
func compare(t *testing.T, file, body string) {
	t.Helper()
	if strings.HasSuffix(file, ".json") {
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(body), "", "  "); err != nil {
			t.Fatal(err)
		}
		body = indented.String() + "\n"
	}
	if os.Getenv("KUBELETAUTH_UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), body); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// answerOf is the body of an answer that goes well.
func answerOf(t *testing.T, handler http.HandlerFunc, method, target, form string) string {
	t.Helper()
	w := do(handler, method, target, form)
	if kind := w.Header().Get("Content-Type"); w.Code != 200 || kind != "application/json" && kind != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("%s: %d %s", target, w.Code, kind)
	}
	return w.Body.String()
}

// do sends a form, unless it is empty.
func do(handler http.HandlerFunc, method, target, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(form))
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	handler(w, r)
	return w
}

// unpack makes the files of a recorded machine, and returns what makes the later
// ones.
func unpack(t *testing.T, file, root string) (reader *machine.Reader, later func()) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	spaces, changed := map[string]*machine.Space{}, map[string]string{}
	for _, section := range strings.Split("\n"+string(text), "\n-- ")[1:] {
		path, content, _ := strings.Cut(section, " --\n")
		if point, ok := strings.CutPrefix(path, "statfs "); ok {
			s := &machine.Space{}
			if _, err := fmt.Sscan(content, &s.Capacity, &s.Free, &s.Available, &s.Inodes, &s.InodesFree); err != nil {
				t.Fatal(path, err)
			}
			spaces[point] = s
		} else if path, ok := strings.CutPrefix(path, "later/"); ok {
			changed[path] = content + "\n"
		} else {
			put(t, filepath.Join(root, path), content+"\n")
		}
	}
	return &machine.Reader{Root: root, Statfs: func(path string) *machine.Space { return spaces[path] }}, func() {
		for path, content := range changed {
			put(t, filepath.Join(root, path), content)
		}
	}
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStuckMachine asks a machine that does not answer: nobody waits for ever,
// whoever leaves is free at once, and the readings do not pile up.
func TestStuckMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var readings atomic.Int32
		stuck := make(chan struct{})
		reader := &machine.Reader{Root: t.TempDir()}
		m := newMachineAPI(API{Logger: slog.New(slog.NewTextHandler(&log, nil))}, reader)
		reader.Statfs = func(string) *machine.Space {
			readings.Add(1)
			<-stuck
			return nil
		}
		time.Sleep(time.Minute)
		began := time.Now()
		ask := func(ctx context.Context, h http.HandlerFunc) (code int, took time.Duration) {
			w := httptest.NewRecorder()
			h(w, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			return w.Code, time.Since(began)
		}
		impatient, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		for range 2 { // waves of those who want the same
			began = time.Now()
			var wait sync.WaitGroup
			for range 100 {
				wait.Go(func() {
					if code, took := ask(t.Context(), m.summary); code != 500 || took != 6*time.Second {
						t.Errorf("%d after %v", code, took)
					}
				})
				wait.Go(func() {
					if code, took := ask(impatient, m.summary); code != 500 || took > time.Second {
						t.Errorf("impatient: %d after %v", code, took)
					}
				})
			}
			wait.Wait()
		}
		if readings.Load() != 1 {
			t.Errorf("%d readings were begun", readings.Load())
		}
		if n := strings.Count(log.String(), "ERROR"); n != 200 {
			t.Errorf("of 200 who waited in vain and 200 who left, %d are errors", n)
		}
		close(stuck)
		if code, _ := ask(t.Context(), m.summary); code != 200 {
			t.Errorf("afterwards: %d", code)
		}
		synctest.Wait()
	})
}
