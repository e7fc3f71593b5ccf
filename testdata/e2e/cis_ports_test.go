package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// cisListeningPorts are the TCP ports on which a process listens, by what Linux says of its open files.
func cisListeningPorts(t *testing.T, pid int) []int {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	var ports []int
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(filepath.Join(proc, "net", table))
		if err != nil {
			continue // no IPv6 on this machine
		}
		for line := range strings.Lines(string(content)) {
			if port, inode, ok := cisParseListener(line); ok && cisHolds(proc, inode) {
				ports = append(ports, port)
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// cisParseListener reads a line of /proc/net/tcp, if it is about a socket that listens.
func cisParseListener(line string) (port int, inode string, ok bool) {
	const listens = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listens {
		return 0, "", false
	}
	_, hex, _ := strings.Cut(fields[1], ":")
	n, err := strconv.ParseUint(hex, 16, 16)
	return int(n), fields[9], err == nil
}

// cisHolds tells whether a process has the socket open.
func cisHolds(proc, inode string) bool {
	files, _ := filepath.Glob(filepath.Join(proc, "fd", "*"))
	return slices.ContainsFunc(files, func(file string) bool {
		target, _ := os.Readlink(file)
		return target == fmt.Sprintf("socket:[%s]", inode)
	})
}
