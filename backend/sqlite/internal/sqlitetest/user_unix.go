//go:build unix

package sqlitetest

import (
	"os"
	"os/exec"
	"syscall"
)

// asOtherUser makes cmd run without root's rights.
func asOtherUser(cmd *exec.Cmd) {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}

// as makes a process run as a user with groups, of which the first is the primary one.
func as(user, group uint32, more ...uint32) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: group, Groups: more}}
	}
}

func groupOf(info os.FileInfo) int {
	s, _ := info.Sys().(*syscall.Stat_t)
	return int(s.Gid)
}
