//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// asOtherUser runs c without the superuser's rights.
func asOtherUser(c *exec.Cmd) {
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}
