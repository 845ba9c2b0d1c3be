// Package cli is the command line of a program with jobs: it works, serves,
// shows what is in the queue and steers it.
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
//		})
//	}
//
// Then "go run . work --parallel 2" runs two jobs at once, and "go run . dev"
// the web server and a worker in one process. Importing the packages of the jobs
// is what makes them known, as it is for workers. A program with a cobra root of
// its own adds [Commands] to that.
//
// # Commands
//
//   - work, dev and serve run jobs, both, and the web server.
//   - list shows what jobs and schedules the program has; check whether each
//     has a handler and, with --payloads, whether what waits fits this build.
//   - stats, top, jobs, show, why, schedules and workers show what is there:
//     counts, a live view, lists by filters, one job, and what holds it.
//   - retry, cancel, delete and free take IDs, or --all and a filter; they show a
//     count and ask, but for --yes, and --dry-run only shows. perform stores a
//     job, its data checked against the job's type. pause and resume take a
//     name, or --all.
//   - export and import carry jobs from one store to another; backup copies a
//     SQLite database while it is at work, and restore puts a copy back.
//   - doctor examines the database as the program opens it; migrate brings its
//     tables up to date, and schema prints them.
//
// Each has --help, with examples. Command plainjobs, in cmd/plainjobs, has those
// that need no program.
//
// # For scripts
//
// Data go to standard output and messages to standard error. With --json each
// line of the data is an object. The exit status is 0 if it is done, 1 if it
// failed, 2 if the command line is wrong, 3 if nothing matched, and 130 or 143
// after a signal. Each flag can be set by a variable of the environment, as
// --parallel by PLAINJOBS_PARALLEL.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

// An App is what the commands know of a program.
type App struct {
	// Open returns the queue. It is also made the default one, see
	// plainjobs.SetDefault, and closed at the end. An error ends the program with
	// status 1, or with 2 if it is of [Usage]. See [Looks].
	Open func(ctx context.Context) (*plainjobs.Queue, error)
	// Setup binds the handlers of declared jobs. It is called after Open by
	// the commands work, dev, serve, list and check, and may be nil.
	Setup func(ctx context.Context, queue *plainjobs.Queue) error
	// Serve is the web server of the commands serve and dev: it returns soon
	// after ctx has ended. It may be nil.
	Serve func(ctx context.Context) error
	// Close is called at the end of a command, after the queue was closed, to
	// close what Open has opened besides, such as a *sql.DB. It may be nil.
	Close func() error
}

// Main runs the command that the program was called with, and exits.
func Main(app App) {
	root := &cobra.Command{
		Use:   strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"),
		Short: "Background jobs: work, look, steer",
	}
	root.AddCommand(Commands(app)...)
	os.Exit(Execute(root))
}

// Commands returns the commands, for a program with a cobra root of its own.
func Commands(app App) []*cobra.Command {
	if app.Open == nil {
		panic("cli: App.Open is nil")
	}
	return newProgram(app).commands()
}

// Execute runs a root with the commands, says what went wrong, and returns the
// exit status. It is for programs with a root of their own that are to end as
// those of [Main] do.
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

// nameExamples has the examples of a command begin with the program's name, so
// that they can be typed.
func nameExamples(program string, c *cobra.Command) {
	lines := strings.Split(c.Example, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line)+" ", c.Name()+" ") {
			lines[i] = "  " + program + " " + strings.TrimSpace(line)
		}
	}
	c.Example = strings.Join(lines, "\n")
}

// The exit statuses. After a signal it is 128 and the signal's number.
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

// ReadOnly reports whether [App.Open] is called by a command that changes nothing,
// as check, doctor, jobs or completion in a shell. A program may then leave the
// tables as they are, by NoMigrate in the options of its store: check then tells
// that they are old, before a deploy changes them.
func ReadOnly(ctx context.Context) bool { return ctx.Value(looks{}) != nil }

// Usage returns an error with which the program ends as one whose command line
// is wrong: with status 2, and after saying where help is. It is for an
// [App.Open] that was not told what to open. Of nil it returns nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &statusError{statusUsage, err}
}

// usage returns an error in how a command was called.
func usage(format string, args ...any) error {
	return Usage(fmt.Errorf(format, args...))
}

// nothing returns the error of having found nothing that was asked for.
func nothing(format string, args ...any) error {
	return &statusError{statusNothing, fmt.Errorf(format, args...)}
}

// errFailed ends a command that has said already what is wrong.
var errFailed = &statusError{statusFailed, errors.New("")}

// cobraUsage are the beginnings of cobra's errors of usage, which have no type.
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
