package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// inspect says what the figures depend on: the machine, and the file system of
// a directory.
func inspect(dir string) string {
	var parts []string
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
				parts = append(parts, strings.Join(strings.Fields(value), " "))
				break
			}
		}
	}
	parts = append(parts, plural(runtime.NumCPU(), "core"), runtime.GOOS+"/"+runtime.GOARCH, runtime.Version())
	if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
		if dir, err = filepath.Abs(dir); err == nil {
			if kind := fileSystem(string(mounts), dir); kind != "" {
				parts = append(parts, "files on "+kind)
			}
		}
	}
	return strings.Join(parts, ", ")
}

// fileSystem finds the type of the mount that a path is in: the longest one,
// and of several at one place the last.
func fileSystem(mounts, path string) (kind string) {
	longest := -1
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		at := strings.TrimSuffix(fields[1], "/")
		if (path == at || strings.HasPrefix(path, at+"/")) && len(at) >= longest {
			longest, kind = len(at), fields[2]
		}
	}
	return kind
}
