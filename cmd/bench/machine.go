package main

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A machine is what the figures depend on.
type machine struct {
	cpu        string // empty where it is not told
	cores      int
	fileSystem string // of the database files; empty where it is not told

	sqlite map[string]string // versions, by driver
	server *server           // nil if none is measured
}

// inspect describes the machine and the file system of a directory.
func inspect(dir string) machine {
	m := machine{cores: runtime.NumCPU()}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.cpu = cpuModel(string(info))
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
		if dir, err = filepath.Abs(dir); err == nil {
			if dir, err = filepath.EvalSymlinks(dir); err == nil {
				m.fileSystem = fileSystem(string(mounts), dir)
			}
		}
	}
	return m
}

func (m machine) String() string {
	var parts []string
	if m.cpu != "" {
		parts = append(parts, m.cpu)
	}
	parts = append(parts, plural(m.cores, "core"), runtime.GOOS+"/"+runtime.GOARCH, runtime.Version())
	if m.fileSystem != "" {
		parts = append(parts, "files on "+m.fileSystem)
	}
	text := strings.Join(parts, ", ")
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(m.sqlite)) {
		versions = append(versions, name+" "+m.sqlite[name])
	}
	if len(versions) > 0 {
		text += "\nSQLite: " + strings.Join(versions, ", ")
	}
	if m.server != nil {
		text += "\n" + m.server.String()
	}
	return text
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

// fileSystem finds the type of the mount that a path is in: the longest one,
// and of several at one place the last.
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
