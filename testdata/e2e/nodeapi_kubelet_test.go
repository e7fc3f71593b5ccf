package e2e

import (
	"math"
	"os"
	"testing"
	"time"

	"k8s.io/klog/v2"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
	"k8s.io/kubernetes/pkg/kubelet/stats"

	"kubeletauth/testdata/e2e/internal/harness"
)

// TestNodeAPIBesideKubelet compares the summary of CPU and memory with that of a real kubelet on this machine, between
// two answers of ours. (All of a summary is more than a kubelet without a container runtime can give.)
func TestNodeAPIBesideKubelet(t *testing.T) {
	s := startNodeAPI(t)
	kubelet := s.cluster.StartKubelet(t, harness.KubeletOptions{})
	client := s.cluster.HTTPClient(t, s.caller.certificate)
	before := s.summary(t, "GET", "?only_cpu_and_memory=true").Node
	var theirs statsapi.Summary
	pageWithin(t, time.Minute, "the kubelet has measured anew", func() bool {
		answer := harness.Get(t, client, kubelet.URL+"/stats/summary?only_cpu_and_memory=true", "")
		if answer.Status != 200 {
			return false
		}
		nodeAPIDecode(t, answer.Body, &theirs)
		return theirs.Node.CPU.Time.After(before.CPU.Time.Add(time.Second))
	})
	time.Sleep(time.Second) // until ours is another reading
	after := s.summary(t, "GET", "?only_cpu_and_memory=true").Node
	nodeAPICompare(t, before, theirs.Node, after)
}

// TestNodeAPIBesideCode compares the rest with what the kubelet's code says in this process.
func TestNodeAPIBesideCode(t *testing.T) {
	s := startNodeAPI(t)
	advisor, err := cadvisor.New(klog.Background(), nil, "/", []string{"/"}, false, true, true)
	if err == nil {
		err = advisor.Start()
	}
	if err != nil {
		harness.Skip(t, "cAdvisor cannot read this machine: %v", err)
	}
	provider := stats.NewCadvisorStatsProvider(advisor, nil, nil, nil, nil, nil, nil)
	before := s.summary(t, "GET", "").Node
	root, network, err := provider.GetCgroupStats(t.Context(), "/", true)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := provider.RootFsStats()
	if err != nil {
		t.Fatal(err)
	}
	rlimit, err := provider.RlimitStats()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // until ours is another reading
	after := s.summary(t, "GET", "").Node
	nodeAPICompare(t, before, statsapi.NodeStats{CPU: root.CPU, Memory: root.Memory, Swap: root.Swap}, after)

	const mib = 1 << 20
	nodeAPIBetween(t, "fs capacity", before.Fs.CapacityBytes, fs.CapacityBytes, after.Fs.CapacityBytes, 0)
	nodeAPIBetween(t, "fs used", before.Fs.UsedBytes, fs.UsedBytes, after.Fs.UsedBytes, 256*mib)
	nodeAPIBetween(t, "fs available", before.Fs.AvailableBytes, fs.AvailableBytes, after.Fs.AvailableBytes, 256*mib)
	nodeAPIBetween(t, "inodes", before.Fs.Inodes, fs.Inodes, after.Fs.Inodes, 0)
	nodeAPIBetween(t, "inodes used", before.Fs.InodesUsed, fs.InodesUsed, after.Fs.InodesUsed, 10000)
	nodeAPIBetween(t, "inodes free", before.Fs.InodesFree, fs.InodesFree, after.Fs.InodesFree, 10000)
	if *before.Rlimit.MaxPID != *rlimit.MaxPID || math.Abs(float64(*after.Rlimit.NumOfRunningProcesses-*rlimit.NumOfRunningProcesses)) > 100 {
		t.Errorf("rlimit: we say %+v, the kubelet %+v", after.Rlimit, rlimit)
	}
	nodeAPICompareNetworks(t, before.Network, network, after.Network)
}

// nodeAPICompareNetworks wants the same interfaces in the same order, and counters between two of ours.
func nodeAPICompareNetworks(t *testing.T, before, theirs, after *statsapi.NetworkStats) {
	t.Helper()
	if len(before.Interfaces) != len(theirs.Interfaces) || len(after.Interfaces) != len(theirs.Interfaces) {
		t.Fatalf("interfaces: we say %+v, the kubelet %+v", after.Interfaces, theirs.Interfaces)
	}
	for i, their := range theirs.Interfaces {
		a, b := before.Interfaces[i], after.Interfaces[i]
		if a.Name != their.Name {
			t.Errorf("interface %d: we say %s, the kubelet %s", i, a.Name, their.Name)
		}
		nodeAPIBetween(t, their.Name+" received", a.RxBytes, their.RxBytes, b.RxBytes, 0)
		nodeAPIBetween(t, their.Name+" sent", a.TxBytes, their.TxBytes, b.TxBytes, 0)
		nodeAPIBetween(t, their.Name+" receive errors", a.RxErrors, their.RxErrors, b.RxErrors, 0)
		nodeAPIBetween(t, their.Name+" send errors", a.TxErrors, their.TxErrors, b.TxErrors, 0)
	}
	if theirs.Name != "" && before.Name != theirs.Name {
		t.Errorf("the main interface: we say %s, the kubelet %s", before.Name, theirs.Name)
	}
}

// nodeAPICompare wants what only grows between two readings of ours, what goes up and down near them, and what does not
// change the same: the limits, of which a summary has what is used and what is left.
func nodeAPICompare(t *testing.T, before, theirs, after statsapi.NodeStats) {
	t.Helper()
	const gib = 1 << 30
	a, m, b := before.Memory, theirs.Memory, after.Memory
	nodeAPIBetween(t, "CPU", before.CPU.UsageCoreNanoSeconds, theirs.CPU.UsageCoreNanoSeconds, after.CPU.UsageCoreNanoSeconds, 0)
	nodeAPIBetween(t, "page faults", a.PageFaults, m.PageFaults, b.PageFaults, 0)
	nodeAPIBetween(t, "major page faults", a.MajorPageFaults, m.MajorPageFaults, b.MajorPageFaults, 0)
	nodeAPIBetween(t, "memory", a.UsageBytes, m.UsageBytes, b.UsageBytes, gib)
	nodeAPIBetween(t, "working set", a.WorkingSetBytes, m.WorkingSetBytes, b.WorkingSetBytes, gib)
	nodeAPIBetween(t, "rss", a.RSSBytes, m.RSSBytes, b.RSSBytes, gib)
	if ours, limit := *b.AvailableBytes+*b.WorkingSetBytes, *m.AvailableBytes+*m.WorkingSetBytes; ours != limit {
		t.Errorf("limit of memory: we say %d, the kubelet %d", ours, limit)
	}
	nodeAPIBetween(t, "swap", before.Swap.SwapUsageBytes, theirs.Swap.SwapUsageBytes, after.Swap.SwapUsageBytes, gib)
	if ours, limit := *after.Swap.SwapAvailableBytes+*after.Swap.SwapUsageBytes, *theirs.Swap.SwapAvailableBytes+*theirs.Swap.SwapUsageBytes; ours != limit {
		t.Errorf("limit of swap: we say %d, the kubelet %d", ours, limit)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cpu.pressure"); err == nil { // without, the kubelet says 0
		nodeAPIBetween(t, "CPU pressure", &before.CPU.PSI.Some.Total, &theirs.CPU.PSI.Some.Total, &after.CPU.PSI.Some.Total, 0)
		nodeAPIBetween(t, "memory pressure", &a.PSI.Some.Total, &m.PSI.Some.Total, &b.PSI.Some.Total, 0)
	}
}

// nodeAPIBetween wants the kubelet's figure between two of ours, or no farther than tolerance from them.
func nodeAPIBetween(t *testing.T, what string, before, theirs, after *uint64, tolerance float64) {
	t.Helper()
	if before == nil || theirs == nil || after == nil {
		t.Errorf("%s: somebody does not know", what)
		return
	}
	if least, most := min(*before, *after), max(*before, *after); float64(*theirs) < float64(least)-tolerance || float64(*theirs) > float64(most)+tolerance {
		t.Errorf("%s: we say %d and %d, the kubelet %d", what, *before, *after, *theirs)
	}
}
