package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/cli"
)

// goRun returns a command that runs the command of the same name of a program,
// as a binary that was built without its jobs cannot run them. All flags but
// --package and --db are the program's.
func goRun(name, short string, s *source) *cobra.Command {
	return &cobra.Command{
		Use:   name + " [--package PKG] [flags of the program's " + name + "]",
		Short: short,
		Long: `Go cannot load jobs into a program that was built without them, so this does what
"go run PKG ` + name + `" does, with the flags that follow: "` + name + ` --help" of that program
tells which there are. PKG is the package of a program that mounts package cli; the
default is $PLAINJOBS_PACKAGE, or the one in this directory. The program opens its own
database; --db reaches it as $PLAINJOBS_DB. In production run the program itself, once
it is built.`,
		Example:            "  plainjobs " + name + " --parallel 2\n  plainjobs " + name + " --package ./cmd/app",
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			p, err := split(args)
			if err != nil {
				return err
			}
			if p.help {
				return c.Help()
			}
			if db := cmp.Or(p.db, s.db); db != "" {
				if err := hidesPassword(db, p.db != "" || s.told); err != nil {
					return err
				}
				if err := os.Setenv("PLAINJOBS_DB", db); err != nil {
					return err
				}
			}
			return run(cmp.Or(p.pkg, os.Getenv("PLAINJOBS_PACKAGE"), "."), append([]string{name}, p.rest...))
		},
	}
}

// parts are the arguments of a command that a program runs.
type parts struct {
	rest    []string // the program's
	pkg, db string
	help    bool
}

func split(args []string) (p parts, err error) {
	own := map[string]*string{"package": &p.pkg, "db": &p.db}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		to := own[name]
		switch {
		case args[i] == "--help" || args[i] == "-h":
			p.help = true
		case to == nil || !strings.HasPrefix(args[i], "--"):
			p.rest = append(p.rest, args[i])
		case given:
			*to = value
		case i+1 < len(args):
			i++
			*to = args[i]
		default:
			return p, cli.Usage(fmt.Errorf("--%s needs a value", name))
		}
	}
	return p, nil
}

// run builds a program and becomes it, so that signals and the exit status are
// the program's own, which go run keeps to itself.
func run(pkg string, args []string) error {
	binary, err := cached(pkg)
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", binary, pkg)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build %s: %w", pkg, err)
	}
	return become(binary, args)
}

// cached returns where the program of a package is kept: no process outlives it to
// remove it.
func cached(pkg string) (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(caches, "plainjobs", fmt.Sprintf("%x", sha256.Sum256([]byte(here+"\x00"+pkg)))[:16])
	name := strings.TrimSuffix(filepath.Base(filepath.Join(here, pkg)), ".go")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(dir, name), os.MkdirAll(dir, 0o700)
}
