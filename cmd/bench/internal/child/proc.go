package child

import (
	"os"
	"strconv"
	"strings"
)

// procIO returns a number from /proc/self/io, or -1 if the system has none.
// wchar counts the bytes given to write calls, nearly all for the database and
// its log. write_bytes would count pages, each only once until it reaches the
// disk.
func procIO(key string) int64 { return procNumber("/proc/self/io", key) }

// peakMemory returns the largest resident memory of this process in KiB, or -1
// if the system does not report it.
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
