package cli

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// called returns how a program was called, as it may be called again, where its
// root has a name. It is for messages that name a command.
func called(name string) string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	_, err := os.Stat("go.mod")
	return invocation(name, os.Args[0], build.Path, build.Main.Path, err == nil)
}

// invocation returns how the program in file is called, whose main package is pkg
// of a module; atRoot is whether the module's directory is the working one.
func invocation(name, file, pkg, module string, atRoot bool) string {
	dir, base := filepath.Split(file)
	rest, inside := strings.CutPrefix(pkg, module+"/")
	switch {
	case strings.TrimSuffix(base, ".exe") != name:
		return name
	case !strings.Contains(filepath.ToSlash(dir), "go-build"): // else by go run
		if dir != "" && !filepath.IsAbs(file) { // from the shell's own directory
			return file
		}
		return name
	case pkg == "" || pkg == "command-line-arguments": // by the names of files, which are not known
		return name
	case atRoot && pkg == module:
		return "go run ."
	case atRoot && inside:
		return "go run ./" + rest
	}
	return "go run " + pkg
}
