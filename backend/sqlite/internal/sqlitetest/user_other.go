//go:build !unix

package sqlitetest

import (
	"os"
	"os/exec"
)

func asOtherUser(*exec.Cmd) {}

func as(uint32, uint32, ...uint32) func(*exec.Cmd) { return func(*exec.Cmd) {} }

func groupOf(os.FileInfo) int { return 0 }
