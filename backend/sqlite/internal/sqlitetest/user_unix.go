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

// as makes a process run as a user of some groups, of which the first is its own,
// with the umask that it has.
func as(user, group uint32, more ...uint32) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: group, Groups: more}}
	}
}

func groupOf(info os.FileInfo) int {
	s, _ := info.Sys().(*syscall.Stat_t)
	return int(s.Gid)
}
