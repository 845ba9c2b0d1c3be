//go:build !unix

package docs_test

import "os/exec"

func group(*exec.Cmd) {}

func interrupt(c *exec.Cmd) error { return c.Process.Kill() }
