package torture

import (
	"bytes"
	"fmt"
	"os"
)

// isStopped reports whether all threads of a process have stopped.
func isStopped(pid int) (bool, error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return false, err
	}
	for _, t := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name()))
		if err != nil {
			return false, err
		}
		// "pid (name) T …", and a name may have anything in it.
		i := bytes.LastIndexByte(text, ')')
		if i < 0 || i+2 >= len(text) || text[i+2] != 'T' {
			return false, nil
		}
	}
	return true, nil
}
