//go:build unix

package docs_test

import (
	"os/exec"
	"syscall"
)

// group has a process and those that it starts be a group, as a shell does, so
// that they can be interrupted together.
func group(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}

// interrupt is what Ctrl-C does to a group.
func interrupt(c *exec.Cmd) error { return syscall.Kill(-c.Process.Pid, syscall.SIGINT) }
