package engine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// Process returns a text by which this host can later find out whether this process has
// ended: the boot, the PID namespace, the PID, and the start time. It is empty where the
// system does not provide these.
var Process = sync.OnceValue(func() string {
	where, err := whereabouts()
	if err != nil {
		return ""
	}
	_, began, err := stat(os.Getpid())
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %s", where, os.Getpid(), began)
})

// whereabouts returns the boot and the namespace in which a PID stands for one process.
func whereabouts() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	return fmt.Sprintf("%s %s", bytes.TrimSpace(boot), space), err
}

// stat returns the state of a process, and its start time in ticks since the boot.
func stat(pid int) (state, began string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	// The name, in parentheses, may have any characters.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields[0], fields[19], nil
}

// lookAt reports whether the process whose [Process] is text has certainly ended, or is
// certainly present.
func lookAt(text string) (ended, present bool) {
	at := strings.LastIndexByte(text, ' ')
	here, err := whereabouts()
	if err != nil || at < 0 || !strings.HasPrefix(text[:at], here+" ") {
		return false, false
	}
	var pid int
	if _, err := fmt.Sscan(text[len(here)+1:at], &pid); err != nil || pid < 1 {
		return false, false
	}
	state, began, err := stat(pid)
	switch {
	case err == nil && began == text[at+1:] && state != "Z" && state != "X":
		return false, true
	case err == nil:
		return true, false // the number is another's now, or the process was not waited for yet
	case errors.Is(err, os.ErrNotExist) && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH):
		return true, false // and not only hidden
	}
	return false, false
}
