package child

import (
	"os"
	"strconv"
	"strings"
)

// procIO returns a number of this process from /proc/self/io, -1 where there
// is none. wchar there counts the bytes that were given to write calls, for
// the database and its log as good as alone; write_bytes would count pages
// instead, and each once until it reaches the disk.
func procIO(key string) int64 { return procNumber("/proc/self/io", key) }

// peakMemory returns the most memory that this process had resident, in KiB,
// -1 where that is not told.
func peakMemory() int64 { return procNumber("/proc/self/status", "VmHWM") }

func procNumber(path, key string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); name == key && len(fields) > 0 {
			if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
