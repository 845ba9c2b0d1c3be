package torture

import (
	"os/exec"
	"syscall"
)

// mortal has the kernel kill the child when the supervisor dies, whatever state
// the child is in then.
func mortal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
