package host

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var networkFileSystems = map[int64]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.CODA_SUPER_MAGIC: "Coda",
	unix.CEPH_SUPER_MAGIC: "Ceph",
}

var doubtfulFileSystems = map[int64]string{
	unix.FUSE_SUPER_MAGIC: "FUSE",
	unix.V9FS_MAGIC:       "9p",
}

// localFileSystems have an empty name if it is not shown to people.
var localFileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4", // and ext2, ext3
	unix.XFS_SUPER_MAGIC:       "XFS",
	unix.BTRFS_SUPER_MAGIC:     "Btrfs",
	unix.BCACHEFS_SUPER_MAGIC:  "",
	unix.F2FS_SUPER_MAGIC:      "F2FS",
	unix.NILFS_SUPER_MAGIC:     "",
	unix.REISERFS_SUPER_MAGIC:  "",
	unix.TMPFS_MAGIC:           "tmpfs, which is memory",
	unix.RAMFS_MAGIC:           "",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay, which ends with its container",
	unix.MSDOS_SUPER_MAGIC:     "",
	unix.EXFAT_SUPER_MAGIC:     "",
	0x2fc12fc1:                 "", // ZFS, which is not in the kernel's headers
	0x3153464a:                 "", // JFS
	0x7366746e:                 "", // NTFS
}

// fileSystemType returns the number by which the kernel knows a file system.
func fileSystemType(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, fmt.Errorf("file system of %s: %w", path, err)
	}
	return int64(s.Type) & 0xffffffff, nil //nolint:unconvert // Type is an int32 on some systems
}

// Classify returns the name and the kind of the file system of a file. The name is
// empty if it is not known.
func Classify(path string) (name string, kind FileSystemKind, err error) {
	magic, err := fileSystemType(path)
	if err != nil {
		return "", Unclassified, err
	}
	if name, ok := networkFileSystems[magic]; ok {
		return name, Network, nil
	}
	if name, ok := doubtfulFileSystems[magic]; ok {
		return name, Doubtful, nil
	}
	if name, ok := localFileSystems[magic]; ok {
		return name, LocalFS, nil
	}
	return "", Unclassified, nil
}

// local returns an error unless a directory is on a local file system.
func local(dir string) error {
	magic, err := fileSystemType(dir)
	if err != nil {
		return err
	}
	if _, ok := localFileSystems[magic]; !ok {
		return fmt.Errorf("the file system of %s, of type %#x, is not known to be local", dir, magic)
	}
	return nil
}

// FreeSpace returns how many bytes can be written next to a file.
func FreeSpace(path string) (bytes int64, known bool) {
	var s unix.Statfs_t
	if unix.Statfs(filepath.Dir(path), &s) != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true //nolint:unconvert // Bsize is an int32 on some systems
}

// IsFull reports whether a database can grow by only a few pages: its file system
// is full, or a file has reached the process's size limit.
func IsFull(path string) bool {
	const room = 64 << 10
	if path == "" {
		return false
	}
	var s unix.Statfs_t
	if unix.Statfs(path, &s) == nil && int64(s.Bavail)*int64(s.Bsize) < room { //nolint:gosec,unconvert // types differ between systems
		return true
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &limit) != nil || limit.Cur > math.MaxInt64 {
		return false
	}
	for _, name := range []string{path, path + "-wal"} {
		if info, err := os.Stat(name); err == nil && info.Size()+room > int64(limit.Cur) { //nolint:gosec // checked above
			return true
		}
	}
	return false
}
