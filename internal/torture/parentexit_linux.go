package torture

import (
	"os/exec"
	"syscall"
)

// killOnParentExit has the kernel kill the child when the supervisor dies, whatever state
// the child is in then.
func killOnParentExit(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
