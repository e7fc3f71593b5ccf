//go:build !linux

package machine

func (*Reader) space(string) *Space { return nil }
