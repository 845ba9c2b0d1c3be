//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// hangup returns the signal of a terminal that hangs up, unless the program was
// started to live on then.
func hangup() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	return []os.Signal{syscall.SIGHUP}
}

// brokenPipes tells of writes to a pipe that nothing reads any more, which else
// end the process if it is the standard output or the standard error. From now on
// they do not: the last words of a command may be such a write.
func brokenPipes() <-chan os.Signal {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return broken
}
