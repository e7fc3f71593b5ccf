package kubeclient

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// userAgent names this module, its revision where it is the one that was built,
// and the platform.
func userAgent() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == "kubeletauth" {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				version = setting.Value[:min(7, len(setting.Value))]
			}
		}
	}
	return fmt.Sprintf("kubeletauth/%s (%s/%s)", version, runtime.GOOS, runtime.GOARCH)
}
