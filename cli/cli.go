// Package cli is the command line of a program with jobs: it runs workers and the
// web server, inspects the queue and operates on its jobs.
//
//	func main() {
//		cli.Main(cli.App{
//			Open: func(context.Context) (*plainjobs.Queue, error) {
//				store, err := modernc.Open("app.db", nil)
//				if err != nil {
//					return nil, err
//				}
//				return plainjobs.New(store, nil), nil
//			},
//			Dashboard: dashboard.Handler,
//		})
//	}
//
// Then "go run . work --parallel 2" runs two jobs at once, and "go run . dev" runs
// the web server and a worker in one process. The program knows the jobs of the
// packages that it imports. A program with its own cobra root adds [Commands] to it.
//
// # Commands
//
//   - work runs jobs, serve runs the web server, and dev runs both.
//   - list shows the program's jobs and schedules. check reports jobs without a
//     handler and, with --payloads, stored payloads that this build cannot decode.
//   - stats, top, jobs, show, why, schedules and workers show counts, a live view,
//     filtered lists, one job, what a job waits for, schedules and workers. dashboard
//     shows the same as web pages, to this machine, and dev serves them too, if
//     App.Dashboard is set.
//   - groups and group show groups of jobs, and flow the graph of a flow; group also seals, pauses,
//     cancels and deletes one.
//   - retry, cancel, delete and free take IDs, or --all and a filter. With --all
//     they show the number of jobs and ask; --yes skips the question and --dry-run
//     only shows the number. perform checks a payload against the job's type and
//     stores a job. pause and resume take a name, or --all. limit shows and changes
//     the limits of a name at run time.
//   - export and import copy jobs from one store to another. backup copies a SQLite
//     database while workers run, and restore replaces a database with a backup.
//   - doctor examines the database as the program opens it, migrate creates or
//     updates its tables, and schema prints their SQL. rekey encrypts stored jobs under
//     the current key.
//   - env shows or changes the environment that the database belongs to.
//
// Each command has --help, with examples. Command plainjobs, in cmd/plainjobs, has
// the commands that need no program.
//
// # For scripts
//
// Data goes to standard output and messages go to standard error. With --json each
// line of output is a JSON object. The exit status is 0 on success, 1 on failure, 2
// if the command line is wrong, 3 if nothing matched, and 128 plus the signal's
// number after a signal. Each flag can also be set by an environment variable, e.g.
// --parallel by PLAINJOBS_PARALLEL.
package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/dashboard"
)

// An App describes a program to the commands.
type App struct {
	// Open returns the queue. The command makes it the default queue, see
	// [plainjobs.SetDefault], and closes it at the end. An error ends the program
	// with status 1, or with 2 if it is an error of [Usage]. See [ReadOnly].
	Open func(ctx context.Context) (*plainjobs.Queue, error)
	// Setup binds the handlers of declared jobs. The commands work, dev, serve, list
	// and check call it after Open. It may be nil.
	Setup func(ctx context.Context, queue *plainjobs.Queue) error
	// Serve runs the web server for the commands serve and dev. It must return soon
	// after ctx is done. It may be nil.
	Serve func(ctx context.Context) error
	// Dashboard serves the pages of package dashboard for the commands dashboard and
	// dev: set it to dashboard.Handler. Without it, there is no command dashboard, and a
	// program without other templates is 4.5 MB smaller; see package dashboard.
	Dashboard func(queue *plainjobs.Queue, opts *dashboard.Options) http.Handler
	// Close closes what else Open has opened, e.g. a *sql.DB. Each command calls it
	// at its end, after it has closed the queue. It may be nil.
	Close func() error
}

// Main runs the command in [os.Args] and exits.
func Main(app App) {
	root := &cobra.Command{
		Use:   strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"),
		Short: "Run, inspect and operate background jobs",
	}
	root.AddCommand(Commands(app)...)
	os.Exit(Execute(root))
}

// Commands returns the commands, for a program with its own cobra root.
func Commands(app App) []*cobra.Command {
	if app.Open == nil {
		panic("cli: App.Open is nil: set it to a function that returns the queue")
	}
	return newProgram(app).commands()
}

// Execute runs a root command, prints its error, and returns the exit status. It
// gives a program with its own root the same exit statuses as [Main].
func Execute(root *cobra.Command) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(wrongFlag)
	program := called(root.Name())
	for _, c := range root.Commands() {
		nameExamples(program, c)
	}
	if root.SuggestionsMinimumDistance == 0 {
		root.SuggestionsMinimumDistance = 2
	}
	err := root.Execute()
	if err == nil {
		return 0
	}
	s := statusOf(err)
	if text := err.Error(); text != "" {
		fmt.Fprintf(root.ErrOrStderr(), "%s: %s\n", root.Name(), cleanLines(strings.TrimSpace(text)))
	}
	if s == statusUsage {
		fmt.Fprintf(root.ErrOrStderr(), "See \"%s help\".\n", program)
	}
	return s
}

// nameExamples puts the program's name in front of the examples of a command.
func nameExamples(program string, c *cobra.Command) {
	lines := strings.Split(c.Example, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line)+" ", c.Name()+" ") {
			lines[i] = "  " + program + " " + strings.TrimSpace(line)
		}
	}
	c.Example = strings.Join(lines, "\n")
}

// The exit statuses. After a signal it is statusSignal plus the signal's number.
const (
	statusFailed  = 1
	statusUsage   = 2
	statusNothing = 3
	statusSignal  = 128
)

// A statusError ends the program with a status.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// ReadOnly reports whether ctx, the argument of [App.Open], belongs to a command that
// does not change the queue, e.g. check, doctor, jobs or shell completion. Open may
// then set NoMigrate in the options of the store: check reports old tables before a
// deployment migrates them.
func ReadOnly(ctx context.Context) bool { return ctx.Value(readOnlyKey{}) != nil }

// Usage marks err as an error of the command line: the program exits with status 2
// and a hint at its help. [App.Open] returns it if, for example, no database is
// given. Usage(nil) is nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &statusError{statusUsage, err}
}

// usage returns an error of the command line.
func usage(format string, args ...any) error {
	return Usage(fmt.Errorf(format, args...))
}

// nothing returns an error for a command that found nothing.
func nothing(format string, args ...any) error {
	return &statusError{statusNothing, fmt.Errorf(format, args...)}
}

// errFailed ends a command that has already printed what is wrong.
var errFailed = &statusError{statusFailed, errors.New("")}

// cobraUsage has the prefixes of cobra's usage errors, which have no type.
var cobraUsage = []string{"unknown command", "accepts ", "requires at least ", "accepts at most ", "required flag"}

func statusOf(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status
	}
	switch {
	case errors.Is(err, context.Canceled):
		return statusSignal + 2
	case errors.Is(err, plainjobs.ErrNotFound):
		return statusNothing
	case slices.ContainsFunc(cobraUsage, func(begin string) bool { return strings.HasPrefix(err.Error(), begin) }):
		return statusUsage
	}
	return statusFailed
}
