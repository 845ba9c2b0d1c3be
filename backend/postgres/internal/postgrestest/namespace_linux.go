package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// A namespace is a network of its own. It has no name, so that nothing is left
// of it, however the test ends: it is gone when it is closed and the processes
// in it have ended.
type namespace struct {
	path  string      // as ip takes it in place of a name
	calls chan func() // run by a thread that is in it
}

// newNamespace makes a namespace, in which only the loopback is.
func newNamespace() (*namespace, error) {
	n := &namespace{calls: make(chan func())}
	made := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine:
		// nobody else may run on it.
		runtime.LockOSThread()
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), syscall.Gettid())
		made <- err
		if err != nil {
			return
		}
		for call := range n.calls {
			call()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("a namespace is not ours to make: %w", err)
	}
	if err := n.run("ip", "link", "set", "lo", "up"); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// start starts a process in the namespace.
func (n *namespace) start(c *exec.Cmd) error {
	started := make(chan error)
	n.calls <- func() { started <- c.Start() } // a process is where the thread is that starts it
	return <-started
}

// run runs a command in the namespace.
func (n *namespace) run(command ...string) error {
	ended := make(chan error)
	n.calls <- func() {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%q: %w\n%s", command, err, out)
		}
		ended <- err
	}
	return <-ended
}

func (n *namespace) close() { close(n.calls) }
