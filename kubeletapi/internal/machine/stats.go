package machine

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxWindow is the longest time between two readings that still says something
// of the CPU's use now.
const maxWindow = 10 * time.Minute

// Stats is how the machine was used at a time.
type Stats struct {
	Time   time.Time
	Groups map[string]*Usage // by the kubelet's name of a system container; "" is the whole machine, and always there

	boot                *time.Time
	network, fs, rlimit Object
}

func (r *Reader) readStats(now time.Time, last *Stats) *Stats {
	s := &Stats{Time: now, Groups: map[string]*Usage{"": r.usage("")}, network: r.network(), fs: r.fs(), rlimit: r.rlimit()}
	for _, group := range [][2]string{ // where systemd, or the kubelet's own driver, has them
		{"kubelet", "system.slice/kubelet.service"},
		{"runtime", "system.slice/containerd.service"}, {"runtime", "system.slice/crio.service"}, {"runtime", "system.slice/docker.service"},
		{"pods", "kubepods.slice"}, {"pods", "kubepods"},
	} {
		if u := r.usage(group[1]); s.Groups[group[0]] == nil && u.CPU != nil {
			s.Groups[group[0]] = u
		}
	}
	last = cmp.Or(last, &Stats{})
	for name, u := range s.Groups {
		u.addRate(last.Groups[name], now.Sub(last.Time))
	}
	if boot := r.table("proc/stat")["btime"]; boot != nil && *boot < 1<<37 { // a year that JSON can say
		s.boot = new(time.Unix(int64(*boot), 0).UTC())
	}
	return s
}

// addRate leaves the rate out if there is no window, or the counter went
// backwards: it may have begun anew.
func (u *Usage) addRate(last *Usage, window time.Duration) {
	if u.CPU != nil && last != nil && last.CPU != nil && *u.CPU >= *last.CPU && window >= fresh && window <= maxWindow {
		u.rate = new(uint64(float64(*u.CPU-*last.CPU) / window.Seconds()))
	}
}

// Summary is the NodeStats of the kubelet's Summary API (k8s.io/kubelet
// v0.37.2, pkg/apis/stats/v1alpha1), without the node's name: all of it, or
// what the kubelet shows for only_cpu_and_memory.
func (s *Stats) Summary(all bool) Object {
	at := s.Time.UTC().Truncate(time.Second) // as the kubelet writes times
	o, containers := s.Groups[""].object(at, all), []Object(nil)
	for _, name := range slices.Sorted(maps.Keys(s.Groups))[1:] {
		c := s.Groups[name].object(at, all)
		c["name"] = name
		containers = append(containers, c)
	}
	o["startTime"], o["systemContainers"] = s.boot, containers
	if all {
		o["network"], o["fs"], o["rlimit"] = timed(at, s.network), timed(at, s.fs), timed(at, s.rlimit)
	}
	return o
}

// rlimit is pkg/kubelet/stats/pidlimit's Stats in Kubernetes v1.37.2.
func (r *Reader) rlimit() Object {
	most := least(r.number("proc/sys/kernel/pid_max"), r.number("proc/sys/kernel/threads-max"))
	return Object{"maxpid": most, "curproc": number(between(r.first("proc/loadavg"), "/", " "))} // "0.10 0.22 1.13 1/86 30622"
}

// fs is that of /; the kubelet takes that of its own folder.
func (r *Reader) fs() Object {
	s := r.space("/")
	if s == nil {
		return nil
	}
	o := Object{"availableBytes": s.Available, "capacityBytes": s.Capacity, "usedBytes": less(&s.Capacity, &s.Free)}
	if s.Inodes > 0 {
		o["inodes"], o["inodesFree"], o["inodesUsed"] = s.Inodes, s.InodesFree, less(&s.Inodes, &s.InodesFree)
	}
	return o
}

// network is cAdvisor's networkStatsFromProc, for this process's own network.
// The interface of the default route stands for all; without such a route eth0
// does, as always in the kubelet.
func (r *Reader) network() Object {
	main, o, interfaces := "eth0", Object{}, []Object(nil)
	for _, f := range slices.Backward(r.lines("proc/net/route")) { // the first one is preferred
		if len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			main = f[0]
		}
	}
	for _, f := range r.lines("proc/net/dev") {
		name, counts, _ := strings.Cut(strings.Join(f, " "), ":")
		if f = strings.Fields(counts); len(f) != 16 || isIgnored(name) {
			continue
		}
		i := Object{"name": name, "rxBytes": number(f[0]), "rxErrors": number(f[2]), "txBytes": number(f[8]), "txErrors": number(f[10])}
		interfaces = append(interfaces, i)
		if name == main {
			maps.Copy(o, i)
		}
	}
	o["interfaces"] = interfaces
	return o
}

// isIgnored says whether an interface is one of those that cAdvisor leaves out.
func isIgnored(name string) bool { return hasPrefix(name, "lo", "veth", "docker", "nerdctl") }
