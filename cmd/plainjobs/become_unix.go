//go:build unix

package main

import (
	"os"
	"syscall"
)

// become replaces this process with another program.
func become(binary string, args []string) error {
	return syscall.Exec(binary, append([]string{binary}, args...), os.Environ())
}
