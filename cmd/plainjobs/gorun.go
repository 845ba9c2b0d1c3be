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

// goRun returns a command that builds a program and runs its command of the same name.
// This binary does not contain the program's jobs. All flags except --package and --db
// are the program's.
func goRun(name, short string, s *source) *cobra.Command {
	return &cobra.Command{
		Use:   name + " [--package PKG] [flags of the program's " + name + "]",
		Short: short,
		Long: `This binary does not contain the jobs of your program, so it builds PKG and runs
"` + name + `" of that program, as "go run PKG ` + name + `" does. The other flags are the program's:
see its "` + name + ` --help". PKG is the main package of a program that uses package cli. The
default is $PLAINJOBS_PACKAGE, or the package in this directory. The program opens its
own database; it receives --db as $PLAINJOBS_DB. In production, run the built program.`,
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
				if err := hidesPassword(db, p.db != "" || s.onCommandLine); err != nil {
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

// parts are the arguments of a goRun command.
type parts struct {
	rest    []string // passed to the program
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
			return p, cli.Usage(fmt.Errorf("--%s has no value: give --%s VALUE", name, name))
		}
	}
	return p, nil
}

// run builds a program and becomes it, so that the program receives the signals and
// returns the exit status. go run does neither.
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

// cached returns the path of a package's binary in the user's cache. No process remains
// that could remove the binary.
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
