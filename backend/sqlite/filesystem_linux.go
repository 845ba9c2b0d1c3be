package sqlite

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/plainjobs/plainjobs/backend"
)

// Network file systems: the processes' shared memory, and often their locks,
// end at the host (https://www.sqlite.org/wal.html).
var networkFileSystems = map[int64]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.CODA_SUPER_MAGIC: "Coda",
	unix.CEPH_SUPER_MAGIC: "Ceph",
}

// Doubtful ones: what is behind them may be a network or another host.
var doubtfulFileSystems = map[int64]string{
	unix.FUSE_SUPER_MAGIC: "FUSE",
	unix.V9FS_MAGIC:       "9p",
}

// Local ones, whose locks are the system's own.
var localFileSystems = map[int64]bool{
	unix.EXT4_SUPER_MAGIC:      true, // and ext2, ext3
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.BCACHEFS_SUPER_MAGIC:  true,
	unix.F2FS_SUPER_MAGIC:      true,
	unix.NILFS_SUPER_MAGIC:     true,
	unix.REISERFS_SUPER_MAGIC:  true,
	unix.TMPFS_MAGIC:           true,
	unix.RAMFS_MAGIC:           true,
	unix.OVERLAYFS_SUPER_MAGIC: true,
	unix.MSDOS_SUPER_MAGIC:     true,
	unix.EXFAT_SUPER_MAGIC:     true,
	0x2fc12fc1:                 true, // ZFS, which the system's headers do not know
	0x3153464a:                 true, // JFS
	0x7366746e:                 true, // NTFS
}

// local returns an error if a directory is not on a local file system.
func local(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("file system of %s: %w", dir, err)
	}
	magic := int64(s.Type) & 0xffffffff //nolint:unconvert // Type is an int32 on some systems
	if !localFileSystems[magic] {
		return fmt.Errorf("the file system of %s, of type %#x, is not known as a local one", dir, magic)
	}
	return nil
}

func checkFileSystem(path string, log interface{ Warn(string, ...any) }) error {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return fmt.Errorf("file system of %s: %w", path, err)
	}
	magic := int64(s.Type) & 0xffffffff //nolint:unconvert // Type is an int32 on some systems
	if name := networkFileSystems[magic]; name != "" {
		return fmt.Errorf("%w: the file is on %s; SQLite's WAL works on local file systems only", backend.ErrInvalid, name)
	}
	if name := doubtfulFileSystems[magic]; name != "" {
		log.Warn("plainjobs: the database is on a file system that may not keep SQLite's locks or shared memory", "type", name, "path", path)
	}
	return nil
}

// isFull reports whether a database's file system, or what its files may grow to
// in this process, has room for a few pages only.
func isFull(path string) bool {
	const room = 64 << 10
	if path == "" {
		return false
	}
	var s unix.Statfs_t
	if unix.Statfs(path, &s) == nil && int64(s.Bavail)*int64(s.Bsize) < room { //nolint:gosec,unconvert // types differ between systems
		return true
	}
	var most unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &most) != nil || most.Cur > math.MaxInt64 {
		return false
	}
	for _, name := range []string{path, path + "-wal"} {
		if info, err := os.Stat(name); err == nil && info.Size()+room > int64(most.Cur) { //nolint:gosec // it is no more
			return true
		}
	}
	return false
}
