package cli

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// called returns the command that starts this program again, for messages that
// name a command. Name is the name of the root command.
func called(name string) string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	_, err := os.Stat("go.mod")
	return invocation(name, os.Args[0], build.Path, build.Main.Path, err == nil)
}

// invocation returns the command that starts the program in file. Its main package
// is pkg of a module; atRoot reports whether the working directory is that module's.
func invocation(name, file, pkg, module string, atRoot bool) string {
	dir, base := filepath.Split(file)
	rest, inside := strings.CutPrefix(pkg, module+"/")
	switch {
	case strings.TrimSuffix(base, ".exe") != name:
		return name
	case !strings.Contains(filepath.ToSlash(dir), "go-build"): // not started by go run
		if dir != "" && !filepath.IsAbs(file) { // relative to the working directory
			return file
		}
		return name
	case pkg == "" || pkg == "command-line-arguments": // go run was given file names, which are not recorded
		return name
	case atRoot && pkg == module:
		return "go run ."
	case atRoot && inside:
		return "go run ./" + rest
	}
	return "go run " + pkg
}
