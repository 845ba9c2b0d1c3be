//go:build !linux

package torture

import "os/exec"

// mortal does nothing: a child ends when its input does, unless it is stopped.
func mortal(*exec.Cmd) {}
