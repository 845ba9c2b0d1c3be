//go:build !unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
)

// become runs another program with this one's terminal, and ends as it does. An
// interrupt from there goes to both.
func become(binary string, args []string) error {
	c := exec.Command(binary, args...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	signal.Ignore(os.Interrupt)
	err := c.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(e.ExitCode()) // what went wrong has been said
	}
	return err
}
