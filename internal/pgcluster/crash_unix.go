//go:build unix

package pgcluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Fresh starts a cluster for one test. Its server restarts after a crash.
func Fresh(tb testing.TB) *Cluster {
	tb.Helper()
	Own(tb) // skips the test if there is no server to start
	c, err := newCluster()
	if err != nil {
		tb.Fatal(err)
	}
	c.revives = true
	if err := c.make(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Stop)
	return c
}

// Crash stops the server without a shutdown. If all is true, the first process ends the
// others at once. Otherwise Crash kills the first process, and the others notice that.
func (c *Cluster) Crash(tb testing.TB, all bool) {
	tb.Helper()
	state, err := os.ReadFile(filepath.Join(c.dir, "data", "postmaster.pid"))
	if err != nil {
		tb.Fatal(err)
	}
	first, _, _ := bytes.Cut(state, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	if err != nil {
		tb.Fatal(err)
	}
	sig := syscall.SIGKILL
	if all {
		sig = syscall.SIGQUIT
	}
	if err := syscall.Kill(pid, sig); err != nil {
		tb.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for syscall.Kill(pid, 0) == nil {
		if time.Now().After(deadline) {
			tb.Fatal("the server does not die")
		}
		<-time.After(5 * time.Millisecond) // the server is not a child process, so the test cannot wait for it
	}
}
