//go:build unix

package docs_test

import (
	"os/exec"
	"syscall"
)

// group runs a command in its own process group, as a shell does, so that a test can
// interrupt the command with its children.
func group(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}

// interrupt sends a SIGINT to a process group, as Ctrl-C does.
func interrupt(c *exec.Cmd) error { return syscall.Kill(-c.Process.Pid, syscall.SIGINT) }
