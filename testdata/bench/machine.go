package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machine says where, when and with what was measured.
func machine() string {
	model := "unknown processor"
	if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(must(os.ReadFile("/proc/cpuinfo"))); m != nil {
		model = string(m[1])
	}
	kernel := strings.TrimSpace(string(must(os.ReadFile("/proc/sys/kernel/osrelease"))))
	load := strings.Fields(string(must(os.ReadFile("/proc/loadavg"))))[0]
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, Kubernetes %s, %s; load average before: %s.",
		model, runtime.NumCPU(), kernel, runtime.Version(), kubernetes(), time.Now().UTC().Format(time.DateOnly), load)
}

// kubernetes is the version that this program is built with.
func kubernetes() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "k8s.io/kubernetes" {
			return dependency.Version
		}
	}
	return "of an unknown version"
}
