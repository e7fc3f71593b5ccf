package machine_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/kubeletapi/internal/machine"
)

// folder writes the files of a machine into one.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		put(t, root, path, content)
	}
	return root
}

func put(t testing.TB, root, path, content string) {
	t.Helper()
	file := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// noSpace is for machines without file systems.
func noSpace(string) *machine.Space { return nil }

// fields are the JSON of an object, by path.
func fields(t testing.TB, o machine.Object) map[string]string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	flatten(all, "", value)
	return all
}

func flatten(all map[string]string, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, value := range v {
			flatten(all, path+"."+key, value)
		}
	case []any:
		for _, value := range v {
			flatten(all, path, value)
		}
	default:
		text, _ := json.Marshal(v)
		all[path] += strings.Trim(string(text), `"`) + ";"
	}
}

// v2 is a machine with control groups of version 2, of which each row below
// spoils something.
var v2 = map[string]string{
	"proc/stat":                  "cpu  1 2 3\nbtime 1700000000\n",
	"proc/meminfo":               "MemTotal:  4000 kB\nSwapTotal:  2000 kB\nSwapFree:  500 kB\nHugetlb:  1000 kB\n",
	"proc/loadavg":               "0.10 0.22 1.13 1/86 30622\n",
	"proc/sys/kernel/pid_max":    "32768\n",
	"proc/net/dev":               "Inter-|   Receive\n face |bytes\neth0: 1 0 2 0 0 0 0 0 3 0 4 0 0 0 0 0\n",
	"sys/fs/cgroup/cpu.stat":     "usage_usec 5\n",
	"sys/fs/cgroup/memory.stat":  "anon 1000\nfile 2000\ninactive_file 500\n",
	"sys/fs/cgroup/cpu.pressure": "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\n",
	"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "7\n",
	"proc/self/mountinfo":                           "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
	"sys/block/sda/dev":                             "8:0\n",
	"sys/block/sda/size":                            "16\n",
	"sys/class/net/eth0/mtu":                        "1500\n",
	"sys/class/net/eth0/address":                    "02:00:00:00:00:01\n",
	"sys/class/net/eth0/speed":                      "1000\n",
	"sys/devices/system/cpu/cpu10/topology/core_id": "3\n",
	"etc/machine-id":                                "abc\n",
}

// TestHostile spoils one file at a time, and says what the field is then. Empty:
// it is not there.
func TestHostile(t *testing.T) {
	for _, row := range []struct{ what, file, content, field, want string }{
		{"as it is", "", "", ".startTime", "2023-11-14T22:13:20Z;"},
		{"as it is", "", "", ".cpu.usageCoreNanoSeconds", "5000;"},
		{"as it is", "", "", ".cpu.usageNanoCores", ""},
		{"as it is", "", "", ".cpu.psi.some.avg300", "3;"},
		{"as it is", "", "", ".cpu.psi.full.total", ""},
		{"as it is", "", "", ".memory.usageBytes", "3000;"},
		{"as it is", "", "", ".memory.workingSetBytes", "2500;"},
		{"as it is", "", "", ".memory.availableBytes", "3069500;"},
		{"as it is", "", "", ".memory.pageFaults", ""},
		{"as it is", "", "", ".swap.swapUsageBytes", "1536000;"},
		{"as it is", "", "", ".io.time", ""},
		{"as it is", "", "", ".fs.time", ""},
		{"as it is", "", "", ".network.name", "eth0;"},
		{"as it is", "", "", ".rlimit.curproc", "86;"},
		{"as it is", "", "", ".topology.cores.core_id", "3;"},
		{"as it is", "", "", ".topology.cores.socket_id", "0;"},
		{"as it is", "", "", ".hugepages.num_pages", "7;"},

		{"cut off", "proc/stat", "cpu  1 2 3\nbtime 17000", ".startTime", ""},
		{"negative", "proc/stat", "btime -1\n", ".startTime", ""},
		{"after the year 9999", "proc/stat", "btime 9223372036854775807\n", ".startTime", ""},
		{"binary", "proc/stat", "\x00\xff\xfe\n\n\nbtime\n", ".startTime", ""},

		{"overflow in nanoseconds", "sys/fs/cgroup/cpu.stat", "usage_usec 18446744073709552\n", ".cpu.usageCoreNanoSeconds", ""},
		{"the most in nanoseconds", "sys/fs/cgroup/cpu.stat", "usage_usec 18446744073709551\n", ".cpu.usageCoreNanoSeconds", "18446744073709551000;"},
		{"beyond 64 bits", "sys/fs/cgroup/cpu.stat", "usage_usec 18446744073709551616\n", ".cpu.usageCoreNanoSeconds", ""},
		{"garbage", "sys/fs/cgroup/cpu.stat", "usage_usec 5x\n", ".cpu.usageCoreNanoSeconds", ""},
		{"signed", "sys/fs/cgroup/cpu.stat", "usage_usec +5\n", ".cpu.usageCoreNanoSeconds", ""},
		{"too long", "sys/fs/cgroup/cpu.stat", "usage_usec 5\n" + strings.Repeat(" \n", 2<<20), ".cpu.usageCoreNanoSeconds", ""},
		{"long", "sys/fs/cgroup/cpu.stat", "usage_usec 5\n" + strings.Repeat(" \n", 1<<20), ".cpu.usageCoreNanoSeconds", "5000;"},

		{"more inactive than used", "sys/fs/cgroup/memory.stat", "anon 1\nfile 2\ninactive_file 500\n", ".memory.workingSetBytes", "0;"},
		{"inactive not known", "sys/fs/cgroup/memory.stat", "anon 1\nfile 2\n", ".memory.workingSetBytes", ""},
		{"inactive cut off", "sys/fs/cgroup/memory.stat", "anon 1\nfile 2\ninactive_file 5", ".memory.workingSetBytes", ""},
		{"working set not known", "sys/fs/cgroup/memory.stat", "anon 1\nfile 2\n", ".memory.availableBytes", ""},
		{"file not known", "sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 1\n", ".memory.usageBytes", ""},
		{"more than a uint64", "sys/fs/cgroup/memory.stat", "anon 18446744073709551615\nfile 18446744073709551616\ninactive_file 1\n", ".memory.usageBytes", ""},
		{"more than a uint64 together", "sys/fs/cgroup/memory.stat", "anon 18446744073709551615\nfile 1\ninactive_file 1\n", ".memory.usageBytes", ""},
		{"memory of a container", "sys/fs/cgroup/memory.current", "900\n", ".memory.workingSetBytes", "400;"},
		{"swap of the machine for a container", "sys/fs/cgroup/memory.current", "900\n", ".swap.swapUsageBytes", ""},
		{"two numbers", "sys/fs/cgroup/memory.current", "900 901\n", ".memory.usageBytes", "3000;"},
		{"no limit", "sys/fs/cgroup/memory.max", "max\n", ".memory.availableBytes", "3069500;"},
		{"limit below use", "sys/fs/cgroup/memory.max", "100\n", ".memory.availableBytes", "0;"},
		{"limit of nothing", "sys/fs/cgroup/memory.max", "0\n", ".memory.availableBytes", "0;"},

		{"kilobytes beyond 64 bits", "proc/meminfo", "MemTotal: 18014398509481984 kB\n", ".memory.availableBytes", ""},
		{"kilobytes beyond 64 bits", "proc/meminfo", "MemTotal: 18014398509481984 kB\n", ".memory_capacity", ""},
		{"no unit", "proc/meminfo", "MemTotal: 4000\n", ".memory_capacity", "4000;"},
		{"more huge pages than memory", "proc/meminfo", "MemTotal: 4 kB\nHugetlb: 8 kB\n", ".memory.availableBytes", "0;"},
		{"a kernel that does not count huge pages", "proc/meminfo", "MemTotal: 4 kB\n", ".memory.availableBytes", "1596;"},
		{"more swap free than there is", "proc/meminfo", "SwapTotal: 1 kB\nSwapFree: 2 kB\n", ".swap.swapUsageBytes", "0;"},
		{"no swap free known", "proc/meminfo", "SwapTotal: 1 kB\n", ".swap.swapUsageBytes", ""},

		{"not a number", "sys/fs/cgroup/cpu.pressure", "some avg10=NaN avg60=0 avg300=0 total=4\n", ".cpu.psi.some.total", ""},
		{"infinite", "sys/fs/cgroup/cpu.pressure", "some avg10=Inf avg60=0 avg300=0 total=4\n", ".cpu.psi.some.total", ""},
		{"negative", "sys/fs/cgroup/cpu.pressure", "some avg10=-1 avg60=0 avg300=0 total=4\n", ".cpu.psi.some.total", ""},
		{"no total", "sys/fs/cgroup/cpu.pressure", "some avg10=1 avg60=0 avg300=0\n", ".cpu.psi.some.avg10", ""},
		{"more of it", "sys/fs/cgroup/cpu.pressure", "some avg10=1 avg60=0 avg300=0 avg900=7 total=4\n", ".cpu.psi.some.total", "4;"},
		{"another kind", "sys/fs/cgroup/cpu.pressure", "most avg10=1 avg60=0 avg300=0 total=4\n", ".cpu.psi.most.total", ""},

		{"fewer numbers", "proc/net/dev", "eth0: 1 0 2 0 0 0 0 0 3 0 4 0 0 0 0\n", ".network.time", ""},
		{"no space", "proc/net/dev", "eth0:1 0 2 0 0 0 0 0 3 0 4 0 0 0 0 0\n", ".network.rxBytes", "1;"},
		{"garbage", "proc/net/dev", "eth0: x 0 2 0 0 0 0 0 3 0 -4 0 0 0 0 0\n", ".network.rxBytes", ""},
		{"garbage", "proc/net/dev", "eth0: x 0 2 0 0 0 0 0 3 0 -4 0 0 0 0 0\n", ".network.rxErrors", "2;"},
		{"garbage", "proc/net/dev", "eth0: x 0 2 0 0 0 0 0 3 0 -4 0 0 0 0 0\n", ".network.txErrors", ""},
		{"not the main one", "proc/net/dev", "eth1: 1 0 2 0 0 0 0 0 3 0 4 0 0 0 0 0\n", ".network.name", ""},
		{"only those that are left out", "proc/net/dev", "lo: 1 0 2 0 0 0 0 0 3 0 4 0 0 0 0 0\n", ".network.time", ""},
		{"a route that is none", "proc/net/route", "eth1 00000000 00000000\n\n", ".network.name", "eth0;"},
		{"a route to half of the world", "proc/net/route", "eth1 00000000 0 1 0 0 0 00000080 0 0 0\n", ".network.name", "eth0;"},
		{"a route by an interface without counters", "proc/net/route", "eth1 00000000 0 3 0 0 0 00000000 0 0 0\n", ".network.name", ""},

		{"empty", "proc/loadavg", "", ".rlimit.curproc", ""},
		{"garbage", "proc/loadavg", "//// ////", ".rlimit.curproc", ""},
		{"the lesser limit", "proc/sys/kernel/threads-max", "99\n", ".rlimit.maxpid", "99;"},
		{"the lesser limit", "proc/sys/kernel/threads-max", "99999\n", ".rlimit.maxpid", "32768;"},

		{"one CPU without a number", "sys/devices/system/cpu/cpux/topology/core_id", "9\n", ".num_cores", "1;"},
		{"one CPU offline", "sys/devices/system/cpu/cpu1/online", "0\n", ".num_cores", "1;"},
		{"another thread", "sys/devices/system/cpu/cpu9/topology/core_id", "3\n", ".num_physical_cores", "1;"},
		{"another thread", "sys/devices/system/cpu/cpu9/topology/core_id", "3\n", ".topology.cores.thread_ids", "9;10;"},
		{"of a node", "sys/devices/system/cpu/cpu10/node7/cpulist", "10\n", ".topology.node_id", "7;"},
		{"of no node", "sys/devices/system/cpu/cpu10/node/cpulist", "10\n", ".topology.node_id", "0;"},
		{"no core", "sys/devices/system/cpu/cpu10/topology/core_id", "x\n", ".num_cores", ""},
		{"a socket without a number", "sys/devices/system/cpu/cpu10/topology/physical_package_id", "-1\n", ".topology.cores.socket_id", "0;"},
		{"MHz", "proc/cpuinfo", "cpu MHz\t\t: 2596.136\n", ".cpu_frequency_khz", "2596136;"},
		{"MHz out of this world", "proc/cpuinfo", "cpu MHz\t\t: 1e300\n", ".cpu_frequency_khz", ""},
		{"MHz of none", "proc/cpuinfo", "cpu MHz\t\t: 0.000\n", ".cpu_frequency_khz", ""},

		{"hidden", "sys/block/sda/hidden", "1\n", ".disk_map.8:0.name", ""},
		{"no minor number", "sys/block/sda/dev", "8\n", ".disk_map.8.name", ""},
		{"sectors beyond 64 bits", "sys/block/sda/size", "18446744073709551615\n", ".disk_map.8:0.name", ""},
		{"a scheduler that does not end", "sys/block/sda/queue/scheduler", "none [bfq", ".disk_map.8:0.scheduler", "bfq;"},
		{"no scheduler", "sys/block/sda/queue/scheduler", "none", ".disk_map.8:0.scheduler", "none;"},
		{"unknown speed", "sys/class/net/eth0/speed", "-1\n", ".network_devices.speed", ""},
		{"no MTU", "sys/class/net/eth0/mtu", "\n", ".network_devices.name", ""},

		{"only space", "etc/machine-id", " \n\n", ".machine_id", ""},
		{"the next one", "var/lib/dbus/machine-id", "def\n", ".machine_id", "abc;"},
		{"ends in NUL", "proc/device-tree/system-id", "IBM,02\x00", ".system_uuid", "IBM,02;"},
		{"of the firmware first", "sys/class/dmi/id/product_uuid", "uuid\n", ".system_uuid", "uuid;"},
		{"none but the machine's", "", "", ".system_uuid", "abc;"},
	} {
		files := maps.Clone(v2)
		if row.file != "" {
			files[row.file] = row.content
		}
		r := &machine.Reader{Root: folder(t, files), Statfs: noSpace}
		got := fields(t, r.Stats().Summary(true))
		maps.Copy(got, fields(t, r.Info()))
		if got[row.field] != row.want {
			t.Errorf("%s %q: %s is %q, want %q", row.file, row.what, row.field, got[row.field], row.want)
		}
	}
}

// TestNothing reads a machine that says nothing.
func TestNothing(t *testing.T) {
	r := &machine.Reader{Root: t.TempDir(), Statfs: noSpace}
	if text, err := json.Marshal(r.Stats().Summary(true)); err != nil || string(text) != "{}" {
		t.Errorf("%s %v", text, err)
	}
	got := fields(t, r.Info())
	delete(got, ".timestamp")
	if len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestFolders wants that a folder in place of a file, a file in place of a
// folder and a symlink to itself are as if they were not there.
func TestFolders(t *testing.T) {
	root := folder(t, map[string]string{"sys/block": "", "sys/fs/cgroup/cpu.stat/x": "", "etc/x": ""})
	if err := os.Symlink("machine-id", filepath.Join(root, "etc/machine-id")); err != nil {
		t.Skip(err)
	}
	r := &machine.Reader{Root: root, Statfs: noSpace}
	got := fields(t, r.Info())
	maps.Copy(got, fields(t, r.Stats().Summary(true)))
	delete(got, ".timestamp")
	if len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestMounts reads lines of mountinfo. Each wanted file system is "device at
// mount point".
func TestMounts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has file systems to show")
	}
	for _, row := range []struct{ what, lines, want string }{
		{"one", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "/dev/sda1 at /;"},
		{"fields in plenty", "22 1 8:1 / / rw shared:1 master:2 propagate_from:3 - ext4 /dev/sda1 rw\n", "/dev/sda1 at /;"},
		{"the first mount", "1 1 8:1 / /a rw - xfs d rw\n2 1 8:1 / /b rw - xfs d rw\n", "d at /a;"},
		{"but / before it", "1 1 8:1 / /a rw - xfs d rw\n2 1 8:1 / / rw - xfs d rw\n", "d at /;"},
		{"white space", `1 1 8:1 / /a\040b\134c\011d rw - xfs d rw` + "\n", "d at /a b\\c\td;"},
		{"an escape that is none", `1 1 8:1 / /a\9 rw - xfs d rw` + "\n", ""},
		{"a quote", `1 1 8:1 / /a"b rw - xfs d rw` + "\n", ""},
		{"cut off", "1 1 8:1 / /a rw - xfs d rw", ""},
		{"no separator", "1 1 8:1 / /a rw xfs d rw\n", ""},
		{"a separator too soon", "1 1 - xfs d rw\n", ""},
		{"nothing after it", "1 1 8:1 / /a rw -\n1 1 8:1 / /a rw - xfs\n", ""},
		{"of other machines", "1 1 0:1 / /a rw - nfs4 n:/ rw\n2 1 0:2 / /b rw - cifs //n rw\n3 1 0:3 / /c rw - fuse.sshfs s rw\n4 1 0:4 / /d rw - 9p p rw\n", ""},
		{"of no disk", "1 1 0:1 / /proc rw - proc proc rw\n2 1 0:2 / /dev rw - devtmpfs d rw\n", ""},
		{"each tmpfs", "1 1 0:1 / /a rw - tmpfs tmpfs rw\n2 1 0:2 / /b rw - tmpfs tmpfs rw\n", "/a at /a;/b at /b;"},
		{"each overlay", "1 1 0:1 / /a rw - overlay overlay rw\n2 1 0:2 / /b rw - overlay overlay rw\n", "overlay_0-1 at /a;overlay_0-2 at /b;"},
	} {
		asked := map[uint64]string{}
		r := &machine.Reader{Root: folder(t, map[string]string{"proc/self/mountinfo": row.lines}), Statfs: func(path string) *machine.Space {
			asked[uint64(len(asked))] = path
			return &machine.Space{Capacity: uint64(len(asked) - 1)}
		}}
		var got string
		filesystems, _ := r.Info()["filesystems"].([]machine.Object)
		for _, fs := range filesystems {
			got += fs["device"].(string) + " at " + asked[fs["capacity"].(uint64)] + ";"
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.what, got, row.want)
		}
	}
}

// TestRate follows the CPU counter of a machine that is asked again after some
// time.
func TestRate(t *testing.T) {
	root := folder(t, nil)
	synctest.Test(t, func(t *testing.T) {
		r := &machine.Reader{Root: root, Statfs: noSpace}
		for i, step := range []struct {
			after time.Duration
			usage string // microseconds
			rate  string
		}{
			{0, "1000000", ""},
			{999 * time.Millisecond, "9000000", ""}, // the same reading
			{time.Millisecond, "3500000", "2500000000;"},
			{10 * time.Second, "3500000", "0;"},
			{3 * time.Second, "3500001", "333;"},
			{2 * time.Second, "5", ""}, // backwards
			{2 * time.Second, "25", "10000;"},
			{10 * time.Minute, "600000025", "1000000000;"},
			{10*time.Minute + time.Nanosecond, "600000026", ""}, // too long ago
			{time.Second, "700000026", "100000000000;"},
			{time.Second, "x", ""},
			{time.Second, "700000026", ""},
			{time.Second, "700000027", "1000;"},
			{time.Second, "18446744073709551", "18446743373709524992;"},
		} {
			time.Sleep(step.after)
			put(t, root, "sys/fs/cgroup/cpu.stat", "usage_usec "+step.usage+"\n")
			if got := fields(t, r.Stats().Summary(true))[".cpu.usageNanoCores"]; got != step.rate {
				t.Errorf("step %d: %q, want %q", i, got, step.rate)
			}
		}
	})
}

// TestShared wants that a storm reads once a second, and no answer before that
// reading.
func TestShared(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has file systems to count readings by")
	}
	root := folder(t, v2)
	synctest.Test(t, func(t *testing.T) {
		var reads int // only one reading at a time
		r := &machine.Reader{Root: root, Statfs: func(string) *machine.Space { reads++; return &machine.Space{} }}
		for second := range 3 {
			var clients sync.WaitGroup
			for range 100 {
				clients.Go(func() {
					if fields(t, r.Stats().Summary(true))[".fs.capacityBytes"] == "" || r.Info()["filesystems"] == nil {
						t.Error("an answer without a reading")
					}
				})
			}
			clients.Wait()
			if want := 2 * (second + 1); reads != want {
				t.Errorf("%d readings in second %d, want %d", reads, second, want)
			}
			time.Sleep(time.Second)
		}
	})
}

// FuzzFile puts anything into the files, and wants JSON in which no number is
// negative or too great.
func FuzzFile(f *testing.F) {
	files := []string{"proc/stat", "proc/meminfo", "proc/loadavg", "proc/cpuinfo", "proc/net/dev", "proc/net/route", "proc/self/mountinfo",
		"sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/memory.stat", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.max",
		"sys/fs/cgroup/cpu.pressure", "sys/fs/cgroup/io.pressure", "sys/fs/cgroup/memory/memory.stat", "sys/block/sda/dev", "sys/block/sda/size",
		"sys/class/net/eth0/mtu", "sys/devices/system/cpu/cpu10/topology/core_id", "etc/machine-id"}
	for i, file := range files {
		f.Add(uint(i), v2[file])
	}
	root := folder(f, v2)
	f.Fuzz(func(t *testing.T, i uint, content string) {
		file := files[i%uint(len(files))]
		put(t, root, file, content)
		defer put(t, root, file, v2[file])
		r := &machine.Reader{Root: root, Statfs: func(string) *machine.Space { return &machine.Space{Capacity: 1, Free: 2} }}
		for _, o := range []machine.Object{r.Stats().Summary(true), r.Info()} {
			for path, values := range fields(t, o) {
				if strings.HasSuffix(path, "Bytes") && strings.Trim(values, "0123456789;") != "" {
					t.Errorf("%s is %s", path, values)
				}
			}
		}
	})
}
