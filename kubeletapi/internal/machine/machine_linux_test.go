package machine_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubeletauth/kubeletapi/internal/machine"
)

// TestFIFO wants that nothing waits for what a FIFO says, be it in place of a
// file or of a folder.
func TestFIFO(t *testing.T) {
	root := folder(t, map[string]string{"etc/x": "", "sys/class/x": ""})
	for _, path := range []string{"etc/machine-id", "sys/block", "sys/class/net"} {
		if err := syscall.Mkfifo(filepath.Join(root, path), 0o600); err != nil {
			t.Skip(err)
		}
	}
	r := &machine.Reader{Root: root, Statfs: noSpace}
	if got := fields(t, r.Info()); len(got) != 1 { // the time
		t.Errorf("%v", got)
	}
}

// TestLive holds this machine's figures against those of its own tools. Each
// tool is asked before and after, so that what changes may be anything between;
// the tolerance is for what it counts otherwise.
func TestLive(t *testing.T) {
	const mib = 1 << 20
	for _, row := range []struct {
		field     string
		tolerance float64 // bytes or seconds; the rest is exact
		command   string
		value     func(output string) string
	}{
		{".memory_capacity", 0, "free -b", cell("Mem:", 1)},
		{".swap_capacity", 0, "free -b", cell("Swap:", 1)},
		{".swap.swapUsageBytes", 64 * mib, "free -b", cell("Swap:", 2)},
		{".fs.capacityBytes", 0, "df -B1 /", cell("/", -5)},
		{".fs.usedBytes", 64 * mib, "df -B1 /", cell("/", -4)},
		{".fs.availableBytes", 64 * mib, "df -B1 /", cell("/", -3)},
		{".fs.inodes", 0, "df -i /", cell("/", -5)},
		{".fs.inodesUsed", 1000, "df -i /", cell("/", -4)},
		{".fs.inodesFree", 1000, "df -i /", cell("/", -3)},
		{".num_cores", 0, "getconf _NPROCESSORS_ONLN", strings.TrimSpace},
		{".startTime", 2, "uptime -s", func(output string) string {
			at, err := time.ParseInLocation(time.DateTime, strings.TrimSpace(output), time.Local)
			if err != nil {
				t.Fatal(err)
			}
			return strconv.FormatInt(at.Unix(), 10)
		}},
	} {
		t.Run(row.field, func(t *testing.T) {
			if _, err := os.Stat("/sys/fs/cgroup/memory.current"); err == nil && row.field == ".swap.swapUsageBytes" {
				t.Skip("this is a container, and its swap is not the machine's")
			}
			before := row.value(ask(t, row.command))
			got := strings.TrimSuffix(live(t)[row.field], ";")
			if at, err := time.Parse(time.RFC3339, got); err == nil {
				got = strconv.FormatInt(at.Unix(), 10)
			}
			within(t, row.command, before, got, row.value(ask(t, row.command)), row.tolerance)
		})
	}
}

// TestLiveCores wants at least the CPUs that this process may use, and no more
// than there are.
func TestLiveCores(t *testing.T) {
	t.Setenv("OMP_NUM_THREADS", "")
	t.Setenv("OMP_THREAD_LIMIT", "")
	cores := strings.TrimSuffix(live(t)[".num_cores"], ";")
	within(t, "nproc", strings.TrimSpace(ask(t, "nproc")), cores, strings.TrimSpace(ask(t, "nproc --all")), 0)
}

// TestLiveNetwork compares the counters of each interface, and which one the
// default route takes.
func TestLiveNetwork(t *testing.T) {
	before := links(t)
	network := stats(t)["network"].(map[string]any)
	after := links(t)
	var names []string
	for _, i := range network["interfaces"].([]any) {
		i := i.(map[string]any)
		name := i["name"].(string)
		names = append(names, name)
		for field, counter := range map[string][2]string{"rxBytes": {"rx", "bytes"}, "rxErrors": {"rx", "errors"}, "txBytes": {"tx", "bytes"}, "txErrors": {"tx", "errors"}} {
			count := func(l map[string]link) string { return l[name].Stats[counter[0]][counter[1]].String() }
			within(t, name+" "+field, count(before), i[field].(json.Number).String(), count(after), 0)
		}
	}
	var want []string
	for name := range after {
		if !slices.ContainsFunc([]string{"lo", "veth", "docker", "nerdctl"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			want = append(want, name)
		}
	}
	if slices.Sort(names); !slices.Equal(names, slices.Sorted(slices.Values(want))) {
		t.Errorf("%v, want %v", names, want)
	}
	if route := strings.Fields(ask(t, "ip -4 route show default")); len(route) > 4 && network["name"] != route[slices.Index(route, "dev")+1] {
		t.Errorf("the main interface is %v, and the default route %v", network["name"], route)
	}
}

// TestLiveRate works for a while, and wants to see it: no less than this process
// itself used, and no more than the machine has.
func TestLiveRate(t *testing.T) {
	r, own := &machine.Reader{}, func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if r.Stats().Groups[""].CPU == nil {
		t.Skip("this machine has no control groups")
	}
	began, used := time.Now(), own()
	for time.Since(began) < 1100*time.Millisecond {
	}
	used = own() - used
	got := fields(t, r.Stats().Summary(true))
	rate, err := strconv.ParseFloat(strings.TrimSuffix(got[".cpu.usageNanoCores"], ";"), 64)
	if err != nil {
		t.Fatal(err)
	}
	cores, _ := strconv.ParseFloat(strings.TrimSuffix(fields(t, r.Info())[".num_cores"], ";"), 64)
	if least := float64(used) / time.Since(began).Seconds() * 0.8; rate < least || rate > cores*1.1e9 {
		t.Errorf("%g nanocores, of which %g are ours, on %g cores", rate, least, cores)
	}
}

// within wants that got is between the other two, or no farther than tolerance
// from them.
func within(t *testing.T, what, before, got, after string, tolerance float64) {
	t.Helper()
	var numbers [3]float64
	for i, text := range []string{before, got, after} {
		var err error
		if numbers[i], err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if numbers[1] < min(numbers[0], numbers[2])-tolerance || numbers[1] > max(numbers[0], numbers[2])+tolerance {
		t.Errorf("%s: we say %s, and they %s and %s", what, got, before, after)
	}
}

// live is all that this machine says, by path.
func live(t *testing.T) map[string]string {
	t.Helper()
	r := &machine.Reader{}
	all := fields(t, r.Stats().Summary(true))
	maps.Copy(all, fields(t, r.Info()))
	return all
}

func stats(t *testing.T) (stats map[string]any) {
	t.Helper()
	text, err := json.Marshal((&machine.Reader{}).Stats().Summary(true))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&stats); err != nil {
		t.Fatal(err)
	}
	return stats
}

// ask runs a tool. The machine may lack it, or have a lesser one by that name.
func ask(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	path, err := exec.LookPath(words[0])
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), path, words[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	output, err := cmd.Output()
	if err != nil {
		t.Skipf("%s: %v", command, err)
	}
	return string(output)
}

// cell is one of the words of the line that has this word, counted from the
// line's start, or from its end if negative.
func cell(word string, i int) func(string) string {
	return func(output string) string {
		for line := range strings.Lines(output) {
			if words := strings.Fields(line); slices.Contains(words, word) && len(words) > 2 {
				return words[(i+len(words))%len(words)]
			}
		}
		return ""
	}
}

type link struct {
	Name  string                            `json:"ifname"`
	Stats map[string]map[string]json.Number `json:"stats64"`
}

func links(t *testing.T) map[string]link {
	t.Helper()
	var all []link
	if err := json.Unmarshal([]byte(ask(t, "ip -json -statistics link show")), &all); err != nil {
		t.Fatal(err)
	}
	byName := map[string]link{}
	for _, l := range all {
		byName[l.Name] = l
	}
	return byName
}
