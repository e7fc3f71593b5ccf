//go:build !unix

package kubeclient

import "os/exec"

// killGroup leaves the children of cmd alone where there are no process groups.
func killGroup(*exec.Cmd) {}
