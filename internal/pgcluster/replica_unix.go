//go:build unix

package pgcluster

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// Replica starts a read-only replica of the cluster and stops it at the end of the test.
func (c *Cluster) Replica(tb testing.TB) *Cluster {
	tb.Helper()
	return c.replicaAt(tb, 0)
}

// replicaAt is Replica with a port. Zero means any free port.
func (c *Cluster) replicaAt(tb testing.TB, port int) *Cluster {
	tb.Helper()
	backup, err := program("pg_basebackup")
	if err != nil {
		tb.Skip(err)
	}
	r, err := newCluster()
	if err != nil {
		tb.Fatal(err)
	}
	r.Port = port
	makes := exec.Command(backup, "-h", c.dir, "-p", fmt.Sprint(c.Port), "-U", Superuser, "-D", filepath.Join(r.dir, "data"), "-R", "-c", "fast", "--no-sync")
	makes.SysProcAttr, makes.Dir = r.attr, r.dir
	if out, err := makes.CombinedOutput(); err != nil {
		tb.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	if err := r.run(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.stop)
	return r
}

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
