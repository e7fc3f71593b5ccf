package machine

import "syscall"

func (r *Reader) space(path string) *Space {
	if r.Statfs != nil {
		return r.Statfs(path)
	}
	var s syscall.Statfs_t
	if syscall.Statfs(r.path(path), &s) != nil {
		return nil
	}
	unit := uint64(s.Frsize)
	return &Space{unit * s.Blocks, unit * s.Bfree, unit * s.Bavail, s.Files, s.Ffree}
}
