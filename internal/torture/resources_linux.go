package torture

import (
	"fmt"
	"os"
)

const haveResources = true

// resources returns how many bytes of a process are resident, and how many
// handles it has.
func resources(pid int) (resident int64, handles int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, 0, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return pages * int64(os.Getpagesize()), len(open), err
}
