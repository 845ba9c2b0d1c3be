//go:build unix

package sqlitetest

import (
	"os"
	"os/exec"
	"syscall"
)

// asSomebodyElse makes cmd run without the superuser's rights.
func asSomebodyElse(cmd *exec.Cmd) {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}
