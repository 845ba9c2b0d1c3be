package harness

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A Machine is what the figures depend on.
type Machine struct {
	CPU        string // empty if the system does not say
	Cores      int
	FileSystem string // of the database files; empty if the system does not say
}

// Inspect describes the machine and the file system of a directory.
func Inspect(dir string) Machine {
	m := Machine{Cores: runtime.NumCPU()}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(string(info))
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
		if dir, err = filepath.Abs(dir); err == nil {
			if dir, err = filepath.EvalSymlinks(dir); err == nil {
				m.FileSystem = fileSystem(string(mounts), dir)
			}
		}
	}
	return m
}

// String returns one line.
func (m Machine) String() string {
	var parts []string
	if m.CPU != "" {
		parts = append(parts, m.CPU)
	}
	parts = append(parts, Plural(m.Cores, "core"), runtime.GOOS+"/"+runtime.GOARCH, runtime.Version())
	if m.FileSystem != "" {
		parts = append(parts, "files on "+m.FileSystem)
	}
	return strings.Join(parts, ", ")
}

// cpuModel finds the first model name in /proc/cpuinfo.
func cpuModel(info string) string {
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

// mountName undoes how /proc/self/mounts writes a path.
var mountName = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// fileSystem finds the type of the mount that a path is in: the one with the
// longest path, and the last of several with the same path.
func fileSystem(mounts, path string) (kind string) {
	longest := -1
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		at := strings.TrimSuffix(mountName.Replace(fields[1]), "/")
		if (path == at || strings.HasPrefix(path, at+"/")) && len(at) >= longest {
			longest, kind = len(at), fields[2]
		}
	}
	return kind
}
