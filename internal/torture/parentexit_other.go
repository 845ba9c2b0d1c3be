//go:build !linux

package torture

import "os/exec"

// killOnParentExit does nothing: a child ends when its input does, unless it is stopped.
func killOnParentExit(*exec.Cmd) {}
