package torture

import (
	"fmt"
	"os"
	"syscall"
)

// mountSmall mounts a file system of n bytes in memory at dir.
func mountSmall(dir string, n int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("torture", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", n)); err != nil {
		return &Skip{fmt.Sprintf("a small file system cannot be mounted, which takes root: %v", err)}
	}
	return nil
}

// unmount detaches it even if a process has a file open there.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
