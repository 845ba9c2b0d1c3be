//go:build darwin || dragonfly || freebsd

package host

import "golang.org/x/sys/unix"

// local returns an error unless a directory is on a local file system.
func local(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	if s.Flags&unix.MNT_LOCAL == 0 {
		return errNotLocal
	}
	return nil
}
