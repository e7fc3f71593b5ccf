package machine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// readInfo is Info of cAdvisor v0.60.5 (machine/info.go; the fields are in
// model/machine.go).
func (r *Reader) readInfo(now time.Time, _ Object) Object {
	meminfo, cpuinfo := r.table("proc/meminfo"), r.read("proc/cpuinfo")
	khz := r.number("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
	if mhz, err := strconv.ParseFloat(between(cpuinfo, "cpu MHz\t\t:", "\n"), 64); khz == nil && err == nil && mhz > 0 && mhz < 1e6 {
		khz = new(uint64(mhz * 1000))
	}
	o := Object{
		"timestamp": now.UTC(), "vendor_id": between(cpuinfo, "vendor_id\t:", "\n"), "cpu_frequency_khz": khz,
		"memory_capacity": meminfo["MemTotal"], "swap_capacity": meminfo["SwapTotal"], "hugepages": r.hugePages("sys/kernel/mm/hugepages"),
		"machine_id":  r.first("etc/machine-id", "var/lib/dbus/machine-id"),
		"system_uuid": r.first("sys/class/dmi/id/product_uuid", "proc/device-tree/system-id", "proc/device-tree/vm,uuid", "etc/machine-id"),
		"boot_id":     r.first("proc/sys/kernel/random/boot_id"),
		"filesystems": r.filesystems(), "disk_map": r.disks(), "network_devices": r.networkDevices(),
	}
	maps.Copy(o, r.topology())
	return o
}

// topology is GetNodesInfo of cAdvisor's utils/sysinfo, without caches,
// distances, and nodes without CPUs; and the counts of what is in it. Cores are
// told apart by socket and number, also to count them. A CPU that is offline
// has no topology.
func (r *Reader) topology() Object {
	type core [3]uint64 // node, socket and number
	threads, sockets, count := map[core][]uint64{}, map[uint64]bool{}, 0
	for _, name := range r.names("sys/devices/system/cpu") {
		path, cpu := "sys/devices/system/cpu/"+name, number(strings.TrimPrefix(name, "cpu"))
		id, socket := r.number(path+"/topology/core_id"), cmp.Or(r.number(path+"/topology/physical_package_id"), new(uint64))
		if cpu == nil || id == nil {
			continue
		}
		node := socket // where the kernel knows of no nodes
		for _, name := range r.names(path) {
			node = cmp.Or(number(strings.TrimPrefix(name, "node")), node)
		}
		c := core{*node, *socket, *id}
		threads[c], sockets[*socket], count = append(threads[c], *cpu), true, count+1
	}
	if count == 0 {
		return nil
	}
	var nodes []Object
	for _, c := range slices.SortedFunc(maps.Keys(threads), func(a, b core) int { return slices.Compare(a[:], b[:]) }) {
		last := len(nodes) - 1
		if last < 0 || nodes[last]["node_id"] != c[0] {
			path := fmt.Sprintf("sys/devices/system/node/node%d", c[0])
			nodes = append(nodes, Object{"node_id": c[0], "memory": r.table(path + "/meminfo")["MemTotal"], "hugepages": r.hugePages(path + "/hugepages")})
			last++
		}
		slices.Sort(threads[c])
		cores, _ := nodes[last]["cores"].([]Object)
		nodes[last]["cores"] = append(cores, Object{"core_id": c[2], "socket_id": c[1], "thread_ids": threads[c]})
	}
	return Object{"num_cores": count, "num_physical_cores": len(threads), "num_sockets": len(sockets), "topology": nodes}
}

// hugePages are those of the machine or of one of its nodes.
func (r *Reader) hugePages(path string) (pages []Object) {
	for _, name := range r.names(path) {
		size, count := number(between(name, "hugepages-", "kB")), r.number(path+"/"+name+"/nr_hugepages")
		if size != nil && count != nil {
			pages = append(pages, Object{"page_size": size, "num_pages": count})
		}
	}
	return pages
}

// networkDevices leaves out what network does.
func (r *Reader) networkDevices() (devices []Object) {
	for _, name := range r.names("sys/class/net") {
		path := "sys/class/net/" + name
		if mtu := r.number(path + "/mtu"); mtu != nil && !isIgnored(name) {
			devices = append(devices, Object{"name": name, "mac_address": r.first(path + "/address"), "speed": r.number(path + "/speed"), "mtu": mtu})
		}
	}
	return devices
}

// disks is GetBlockDeviceInfo of cAdvisor's utils/sysinfo.
func (r *Reader) disks() Object {
	disks := Object{}
	for _, name := range r.names("sys/block") {
		path := "sys/block/" + name
		device := r.first(path + "/dev")
		a, b, _ := strings.Cut(device, ":")
		major, minor, size := number(a), number(b), times(r.number(path+"/size"), 512)
		if major == nil || minor == nil || size == nil || hasPrefix(name, "loop", "ram", "sr") || r.first(path+"/hidden") == "1" {
			continue
		}
		scheduler := cmp.Or(between(r.first(path+"/queue/scheduler"), "[", "]"), "none")
		disks[device] = Object{"name": name, "major": major, "minor": minor, "size": size, "scheduler": scheduler}
	}
	return disks
}

// localTypes are the file systems that cAdvisor shows, without those of other
// machines: to ask for their size may take for ever.
const localTypes = " ext2 ext3 ext4 xfs btrfs f2fs jfs reiserfs hfs hfsplus ntfs vfat fat msdos exfat udf iso9660 squashfs tmpfs overlay "

// filesystems is processMounts and GetGlobalFsInfo of cAdvisor's fs/fs.go: one
// for each device, at its first mount or /. Each tmpfs and overlay is a device
// of its own.
func (r *Reader) filesystems() (filesystems []Object) {
	mounts := map[string]string{} // device to mount point
	for _, f := range r.lines("proc/self/mountinfo") {
		end := slices.Index(f, "-")
		if end < 6 || len(f) < end+3 || !strings.Contains(localTypes, " "+f[end+1]+" ") {
			continue
		}
		device := f[end+2]
		point, err := strconv.Unquote(`"` + f[4] + `"`) // white space and backslashes are octal escapes
		switch f[end+1] {
		case "tmpfs":
			device = point
		case "overlay":
			device += "_" + strings.Replace(f[2], ":", "-", 1)
		}
		if err == nil && (mounts[device] == "" || point == "/") {
			mounts[device] = point
		}
	}
	for _, device := range slices.Sorted(maps.Keys(mounts)) {
		if s := r.space(mounts[device]); s != nil {
			filesystems = append(filesystems, Object{"device": device, "type": "vfs", "capacity": s.Capacity, "inodes": s.Inodes, "has_inodes": s.Inodes > 0})
		}
	}
	return filesystems
}
