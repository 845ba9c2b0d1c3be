package host

// A FileSystemKind says whether SQLite's WAL mode works on a file system.
type FileSystemKind int

// The kinds of file systems.
const (
	// Unclassified is a file system that the package does not know.
	Unclassified FileSystemKind = iota
	// LocalFS is a local file system: its locks are the kernel's own.
	LocalFS
	// Doubtful may be a network or another host behind a local interface.
	Doubtful
	// Network has no shared memory, and often no locks, across hosts
	// (https://www.sqlite.org/wal.html).
	Network
)
