package sqlite

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "XFS", unix.BTRFS_SUPER_MAGIC: "Btrfs", unix.F2FS_SUPER_MAGIC: "F2FS",
	unix.TMPFS_MAGIC: "tmpfs, which is memory", unix.OVERLAYFS_SUPER_MAGIC: "overlay, which ends with its container",
}

// fileSystem names the file system of a file, or not.
func fileSystem(path string) string {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return ""
	}
	magic := int64(s.Type) & 0xffffffff //nolint:unconvert // Type is an int32 on some systems
	for _, names := range []map[int64]string{fileSystems, doubtfulFileSystems, networkFileSystems} {
		if name := names[magic]; name != "" {
			return name
		}
	}
	return ""
}

// freeSpace returns how many bytes may be written beside a file.
func freeSpace(path string) (bytes int64, known bool) {
	var s unix.Statfs_t
	if unix.Statfs(filepath.Dir(path), &s) != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true //nolint:unconvert // Bsize is an int32 on some systems
}
