//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// hangup returns SIGHUP, which a closing terminal sends, unless the process ignores it,
// e.g. under nohup.
func hangup() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	return []os.Signal{syscall.SIGHUP}
}

// brokenPipes returns a channel that receives SIGPIPE: a write to a pipe without a reader.
// Without it such a write to standard output or standard error ends the process.
func brokenPipes() <-chan os.Signal {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return broken
}
