//go:build unix

// Package leash runs servers for tests, and ends them with the test.
package leash

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A Leash ties a server to the test. The server runs under a shell, which stops it when
// the shell's standard input closes: by Stop, or because the test's process has ended.
type Leash struct {
	shell *exec.Cmd
	end   io.WriteCloser
	ended chan struct{} // closed when no server runs and none will be restarted
	log   bytes.Buffer  // read after Stop
}

// startTime and stopTime bound how long a server may take to start and to stop, on a
// busy machine.
const (
	startTime = time.Minute
	stopTime  = 30 * time.Second
)

// Start starts a shell that runs a script with arguments, in a directory and as a user.
// The script must close file 3 and its children must keep it open, so that ended closes
// when they have ended. The script finds the usual tools even if PATH lacks them.
func (l *Leash) Start(run func(*exec.Cmd) error, user *syscall.SysProcAttr, dir, script string, args ...string) error {
	l.shell = exec.Command("/bin/sh", append([]string{"-c", "PATH=$PATH:/bin:/usr/bin\n" + script}, args...)...)
	attr := *user
	attr.Setpgid = true // so that Stop can kill the whole group
	l.shell.SysProcAttr, l.shell.Dir = &attr, dir
	l.shell.Stdout, l.shell.Stderr = &l.log, &l.log
	alive, server, err := os.Pipe()
	if err != nil {
		return err
	}
	l.shell.ExtraFiles = []*os.File{server}
	if l.end, err = l.shell.StdinPipe(); err == nil {
		if run == nil {
			run = (*exec.Cmd).Start
		}
		err = run(l.shell)
	}
	_ = server.Close()
	if err != nil {
		_ = alive.Close()
		return err
	}
	l.ended = make(chan struct{})
	go func() {
		defer close(l.ended)
		_, _ = io.Copy(io.Discard, alive)
		_ = alive.Close()
	}()
	return nil
}

// Await waits until ready returns true. If the server ends or takes too long, Await
// stops it and returns an error with the server's output.
func (l *Leash) Await(what string, ready func() bool) error {
	poll := time.NewTicker(10 * time.Millisecond) // a new server sends no notification
	defer poll.Stop()
	late := time.After(startTime)
	for !ready() {
		why := ""
		select {
		case <-poll.C:
			continue
		case <-l.ended:
			why = "it has ended"
		case <-late:
			why = fmt.Sprintf("it is not ready after %v", startTime)
		}
		l.Stop()
		return fmt.Errorf("%s does not start: %s\n%s", what, why, l.log.String())
	}
	return nil
}

// Stop stops the server and waits for its end. It kills a server that does not end.
func (l *Leash) Stop() {
	_ = l.end.Close()
	late := time.AfterFunc(stopTime, func() { _ = syscall.Kill(-l.shell.Process.Pid, syscall.SIGKILL) })
	_ = l.shell.Wait()
	late.Stop()
}
