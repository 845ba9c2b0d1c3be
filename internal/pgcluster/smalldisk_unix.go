//go:build unix

package pgcluster

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// SmallDisk returns a directory for the server on a separate disk of 16 MiB, and a
// function that enlarges the disk. It skips the test if the test may not mount a disk.
func (c *Cluster) SmallDisk(tb testing.TB) (dir string, grow func()) {
	tb.Helper()
	own, err := newCluster() // only its directory is used
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(own.remove)
	disk := filepath.Join(own.dir, "disk")
	mount := func(args ...string) error {
		out, err := exec.Command("mount", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("mount: %w\n%s", err, out)
		}
		return nil
	}
	if err := own.mkdir("disk"); err != nil {
		tb.Fatal(err)
	}
	if err := mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", disk); err != nil {
		tb.Skipf("the test may not mount a small disk: %v", err)
	}
	tb.Cleanup(func() {
		// An ended session takes a moment to close its files.
		if out, err := exec.Command("umount", "-l", disk).CombinedOutput(); err != nil {
			tb.Errorf("umount: %v\n%s", err, out)
		}
	})
	if err := own.mkdir("disk/space"); err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(disk, "space"), func() {
		if err := mount("-o", "remount,size=256m", disk); err != nil {
			tb.Fatal(err)
		}
	}
}
