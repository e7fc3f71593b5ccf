package machine

import (
	"strconv"
	"strings"
	"time"
)

// Usage is what a control group uses. What is nil is not known.
type Usage struct {
	CPU        *uint64 // nanoseconds on all cores
	WorkingSet *uint64 // bytes
	Swap       *uint64 // bytes

	rate                                           *uint64 // nanoseconds of CPU in a second
	memory, anon, file, inactive, limit, swapLimit *uint64 // bytes
	faults, majorFaults                            *uint64
	cpuPSI, memoryPSI, ioPSI                       Object
}

const cgroups = "sys/fs/cgroup/"

// usage is that of the control group at a path, "" the root: the machine, or
// the container that this process runs in. The rules are those of cAdvisor
// v0.60.5 (container/libcontainer, setCPUStats and setMemoryStats) on
// opencontainers/cgroups v0.0.7.
func (r *Reader) usage(group string) *Usage {
	u := r.usageV2(group)
	if u.CPU == nil && u.anon == nil {
		u = r.usageV1(group)
	}
	if group == "" {
		u.addMachine(r.table("proc/meminfo"))
	}
	u.WorkingSet = less(u.memory, u.inactive)
	u.cpuPSI, u.memoryPSI, u.ioPSI = r.pressure(group, "cpu"), r.pressure(group, "memory"), r.pressure(group, "io")
	return u
}

func (r *Reader) usageV1(group string) *Usage {
	path := cgroups + "memory/" + group
	stat := r.table(path + "/memory.stat")
	u := &Usage{
		CPU:    r.number(cgroups + "cpuacct/" + group + "/cpuacct.usage"),
		memory: r.number(path + "/memory.usage_in_bytes"), limit: r.number(path + "/memory.limit_in_bytes"),
		anon: stat["total_rss"], Swap: stat["total_swap"], inactive: stat["total_inactive_file"],
		faults: stat["pgfault"], majorFaults: stat["pgmajfault"],
	}
	if u.limit != nil && *u.limit > 1<<62 { // no limit
		u.limit = nil
	}
	return u
}

// usageV2 takes "max" for what it is: no number, and so no limit.
func (r *Reader) usageV2(group string) *Usage {
	path := cgroups + group
	stat := r.table(path + "/memory.stat")
	return &Usage{
		CPU:    times(r.table(path + "/cpu.stat")["usage_usec"], 1000),
		memory: r.number(path + "/memory.current"), limit: r.number(path + "/memory.max"),
		Swap: r.number(path + "/memory.swap.current"), swapLimit: r.number(path + "/memory.swap.max"),
		anon: stat["anon"], file: stat["file"], inactive: stat["inactive_file"],
		faults: stat["pgfault"], majorFaults: stat["pgmajfault"],
	}
}

// addMachine gives the root what is the machine's, as rootStatsFromMeminfo of
// opencontainers/cgroups and adjustForHugePages of the kubelet do. A machine's
// root has no memory.current in version 2; that of a container has.
func (u *Usage) addMachine(meminfo map[string]*uint64) {
	total, swap := meminfo["MemTotal"], meminfo["SwapTotal"]
	if u.memory == nil && u.anon != nil && u.file != nil && *u.anon+*u.file >= *u.anon {
		u.memory, u.Swap = new(*u.anon+*u.file), less(swap, meminfo["SwapFree"])
	}
	u.limit = least(least(u.limit, total), less(total, meminfo["Hugetlb"]))
	u.swapLimit = least(u.swapLimit, swap)
}

// object is what the Summary API has of both a node and a system container, by
// the rules of pkg/kubelet/stats/helper.go in Kubernetes v1.37.2.
func (u *Usage) object(at time.Time, all bool) Object {
	o := Object{
		"cpu": timed(at, Object{"usageNanoCores": u.rate, "usageCoreNanoSeconds": u.CPU, "psi": u.cpuPSI}),
		"memory": timed(at, Object{"availableBytes": less(u.limit, u.WorkingSet), "usageBytes": u.memory, "workingSetBytes": u.WorkingSet,
			"rssBytes": u.anon, "pageFaults": u.faults, "majorPageFaults": u.majorFaults, "psi": u.memoryPSI}),
		"swap": timed(at, Object{"swapAvailableBytes": less(u.swapLimit, u.Swap), "swapUsageBytes": u.Swap}),
	}
	if all {
		o["io"] = timed(at, Object{"psi": u.ioPSI})
	}
	return o
}

// pressure is the pressure stall information of a control group. The root has
// the machine's where version 1 or an old kernel has none of its own. Totals
// stay in microseconds, as in the kubelet.
func (r *Reader) pressure(group, resource string) Object {
	lines := r.lines(cgroups + group + "/" + resource + ".pressure")
	if lines == nil && group == "" {
		lines = r.lines("proc/pressure/" + resource)
	}
	psi := Object{}
	for _, f := range lines { // "some avg10=0.06 avg60=0.31 avg300=2.12 total=2852215539"
		data := Object{}
		for _, key := range []string{"avg10", "avg60", "avg300", "total"} {
			if n, err := strconv.ParseFloat(between(strings.Join(f, " "), key+"=", " "), 64); err == nil && n >= 0 && n < 1<<53 {
				data[key] = n
			}
		}
		if len(data) == 4 && (f[0] == "some" || f[0] == "full") {
			psi[f[0]] = data
		}
	}
	return psi
}
