package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// A namespace is a separate network. It has no name, so nothing of it remains however
// the test ends: it is gone when it is closed and its processes have ended.
type namespace struct {
	path  string      // accepted by ip in place of a name
	calls chan func() // run by a thread in the namespace
}

// newNamespace makes a namespace with only the loopback interface.
func newNamespace() (*namespace, error) {
	n := &namespace{calls: make(chan func())}
	made := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine and no other
		// goroutine runs on it.
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
		return nil, fmt.Errorf("making a namespace is not permitted: %w", err)
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
	n.calls <- func() { started <- c.Start() } // a process starts in the namespace of its parent thread
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
