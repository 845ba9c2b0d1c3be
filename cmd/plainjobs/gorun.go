package main

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// goRun returns a command that runs the command of the same name of a program,
// as a binary that was built without its jobs cannot run them. All flags but
// --package and --db are the program's.
func goRun(name, short string, s *source) *cobra.Command {
	return &cobra.Command{
		Use:   name + " [--package PKG] [flags of the program's " + name + "]",
		Short: short,
		Long: `Go cannot load jobs into a program that was built without them, so this runs
"go run PKG ` + name + `" with the flags that follow. PKG is the package of a program
that mounts package cli; the default is $PLAINJOBS_PACKAGE, or the one in this
directory. In production run that program itself, once it is built.`,
		Example:            "  plainjobs " + name + " --parallel 2\n  plainjobs " + name + " --package ./cmd/app",
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			args, pkg, db, help := split(args)
			if help {
				return c.Help()
			}
			return run(cmp.Or(pkg, os.Getenv("PLAINJOBS_PACKAGE"), "."), cmp.Or(db, s.db), append([]string{name}, args...))
		},
	}
}

// split takes the flags out of args that are not the program's.
func split(args []string) (rest []string, pkg, db string, help bool) {
	own := map[string]*string{"package": &pkg, "db": &db}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		to := own[name]
		switch {
		case args[i] == "--help" || args[i] == "-h":
			help = true
		case to == nil || !strings.HasPrefix(args[i], "--"):
			rest = append(rest, args[i])
		case given:
			*to = value
		case i+1 < len(args):
			i++
			*to = args[i]
		}
	}
	return rest, pkg, db, help
}

// run runs a program with the terminal as its own. An interrupt from there goes
// to the program too; this one waits for it.
func run(pkg, db string, args []string) error {
	c := exec.Command("go", append([]string{"run", pkg}, args...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = os.Environ()
	if db != "" {
		c.Env = append(c.Env, "PLAINJOBS_DB="+db)
	}
	signals := make(chan os.Signal, 1) // for as long as this process has left
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		select {
		case err := <-ended:
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				os.Exit(e.ExitCode()) // what went wrong has been said
			}
			return err
		case s := <-signals:
			if s == syscall.SIGTERM {
				_ = c.Process.Signal(s) // if it is gone, ended says so
			}
		}
	}
}
