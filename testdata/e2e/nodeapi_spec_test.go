package e2e

import (
	"cmp"
	"slices"
	"testing"

	"github.com/google/cadvisor/lib/fs"
	"github.com/google/cadvisor/lib/machine"
	"github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/utils/sysfs"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	_ "k8s.io/kubernetes/pkg/kubelet/cadvisor" // the kinds of file systems that the kubelet knows

	"kubeletauth/testdata/e2e/internal/harness"
)

// TestNodeAPISpec compares /spec/ with what cAdvisor itself finds on this machine.
func TestNodeAPISpec(t *testing.T) {
	var ours model.MachineInfo
	nodeAPIDecode(t, startNodeAPI(t).body(t, "GET", "/spec/"), &ours)
	filesystems, err := fs.NewFsInfo(fs.Context{})
	if err != nil {
		harness.Skip(t, "cAdvisor cannot read this machine: %v", err)
	}
	theirs, err := machine.Info(sysfs.NewRealSysFs(), filesystems, true)
	if err != nil {
		harness.Skip(t, "cAdvisor cannot read this machine: %v", err)
	}
	if ours.Timestamp.IsZero() || ours.NumCores == 0 {
		t.Errorf("%+v", ours)
	}
	nodeAPIKnown(theirs)
	if diff := gocmp.Diff(*theirs, ours, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(model.MachineInfo{}, "Timestamp"),
		cmpopts.IgnoreFields(model.FilesystemInfo{}, "DeviceMajor", "DeviceMinor"), // not in the JSON
		cmpopts.SortSlices(func(a, b model.FilesystemInfo) bool { return a.Device < b.Device }),
		cmpopts.SortSlices(func(a, b model.HugePagesInfo) bool { return a.PageSize < b.PageSize })); diff != "" {
		t.Errorf("-cAdvisor +ours:\n%s", diff)
	}
}

// nodeAPIKnown changes what cAdvisor found to what we say, where these differ: we say nothing of caches, distances,
// types of memory and clouds, leave out what is not known, ask no other machine for its file systems, and count the
// cores of each socket.
func nodeAPIKnown(m *model.MachineInfo) {
	m.CloudProvider, m.InstanceType, m.InstanceID, m.MemoryByType = "", "", "", nil
	m.Filesystems = slices.DeleteFunc(m.Filesystems, func(f model.FilesystemInfo) bool { return f.Type == "nfs" || f.Type == "zfs" })
	for i := range m.Filesystems {
		m.Filesystems[i].HasInodes = m.Filesystems[i].Inodes > 0
	}
	for i := range m.NetworkDevices {
		m.NetworkDevices[i].Speed = max(m.NetworkDevices[i].Speed, 0)
	}
	m.Topology = slices.DeleteFunc(m.Topology, func(n model.Node) bool { return len(n.Cores) == 0 })
	m.NumPhysicalCores = 0
	for i := range m.Topology {
		n := &m.Topology[i]
		n.Caches, n.Distances = nil, nil
		for j := range n.Cores {
			c := &n.Cores[j]
			c.Caches, c.UncoreCaches = nil, nil
			slices.Sort(c.Threads)
		}
		slices.SortFunc(n.Cores, func(a, b model.Core) int {
			return cmp.Or(cmp.Compare(a.SocketID, b.SocketID), cmp.Compare(a.Id, b.Id))
		})
		m.NumPhysicalCores += len(n.Cores)
	}
}
