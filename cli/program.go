package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A program is an App with what the commands need of the world around it.
type program struct {
	app      App
	now      func() time.Time
	terminal func(stream any) bool
	// notify has interrupts, requests to end and more sent to c until stop.
	notify func(c chan<- os.Signal, more ...os.Signal) (stop func())
}

func newProgram(app App) *program {
	return &program{
		app: app,
		now: time.Now,
		terminal: func(stream any) bool {
			f, ok := stream.(*os.File)
			return ok && term.IsTerminal(int(f.Fd()))
		},
		notify: func(c chan<- os.Signal, more ...os.Signal) func() {
			signal.Notify(c, append(more, os.Interrupt, syscall.SIGTERM)...)
			return func() { signal.Stop(c) }
		},
	}
}

func (p *program) commands() []*cobra.Command {
	all := []*cobra.Command{
		p.workCommand(), p.devCommand(), p.listCommand(),
		p.statsCommand(), p.jobsCommand(), p.showCommand(), p.whyCommand(),
		p.retryCommand(), p.cancelCommand(), p.deleteCommand(), p.freeCommand(), p.performCommand(),
		p.pauseCommand(), p.resumeCommand(), p.schedulesCommand(), p.workersCommand(), p.topCommand(), p.envCommand(),
		p.exportCommand(), p.importCommand(), p.backupCommand(), p.restoreCommand(),
		p.checkCommand(), p.doctorCommand(), p.migrateCommand(), p.schemaCommand(),
	}
	if p.app.Serve != nil {
		all = append(all, p.serveCommand())
	}
	return all
}

// An action is what a command does.
type action func(ctx context.Context, s *screen, args []string) error

// command completes c by what all commands have in common.
func (p *program) command(c *cobra.Command, do action) *cobra.Command {
	return p.whole(c, func(ctx context.Context, s *screen, args []string) error {
		ctx, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		signals := make(chan os.Signal, 1)
		ignore := p.notify(signals)
		defer ignore()
		go func() {
			select {
			case first := <-signals:
				ignore() // the next one ends the program, whatever holds it up
				stop(signalled{first})
			case <-ctx.Done():
			}
		}()
		err := do(ctx, s, args)
		if cause, ok := errors.AsType[signalled](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
			return &statusError{statusSignal + signalNumber(cause.Signal), interrupted(err)}
		}
		return err
	})
}

// signalled is why a command's context has ended.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return s.String() }

// interrupted returns an error that says so.
func interrupted(err error) error {
	if strings.Contains(err.Error(), "interrupted") {
		return err
	}
	return fmt.Errorf("interrupted: %w", err)
}

// whole is command for an action that sees to signals by itself.
func (p *program) whole(c *cobra.Command, do action) *cobra.Command {
	c.SilenceUsage = true // an error of the store is no question of usage
	c.DisableFlagsInUseLine = true
	c.SetFlagErrorFunc(wrongFlag)
	if name := variables(c); name != "" {
		c.Long = strings.TrimSpace(c.Long) + "\n\nEach flag can be set by a variable of the environment too, as " + name + "."
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := fromEnvironment(c); err != nil {
			return err
		}
		ctx := c.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		return do(ctx, p.screen(c), args)
	}
	return c
}

// takes returns the rule of a command's arguments.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		n := len(args)
		switch {
		case n < least:
			return usage("%s: an argument is missing: usage: %s", c.Name(), c.UseLine())
		case n > most:
			return usage("%s: %q is one argument too many: usage: %s", c.Name(), args[most], c.UseLine())
		}
		return nil
	}
}

type looks struct{}

// look is open for a command that changes nothing.
func (p *program) look(ctx context.Context) (*plainjobs.Queue, func(), error) {
	return p.open(looking(ctx))
}

// looking returns the context of a command that changes nothing.
func looking(ctx context.Context) context.Context { return context.WithValue(ctx, looks{}, true) }

// open returns the queue, and a function that closes it.
func (p *program) open(ctx context.Context) (*plainjobs.Queue, func(), error) {
	q, err := p.app.Open(ctx)
	switch {
	case errors.Is(err, backend.ErrSchemaTooNew):
		return nil, nil, fmt.Errorf("%w; nothing was changed", err)
	case err != nil:
		return nil, nil, err
	case q == nil:
		return nil, nil, errors.New("cli.App.Open returned no queue")
	}
	plainjobs.SetDefault(q)
	return q, func() {
		plainjobs.SetDefault(nil)
		err := q.Close()
		if p.app.Close != nil {
			err = errors.Join(err, p.app.Close())
		}
		if err != nil {
			slog.Error("plainjobs: what was open did not close", "error", err)
		}
	}, nil
}

// setUp returns the queue with its handlers, and a function that closes it.
func (p *program) setUp(ctx context.Context) (*plainjobs.Queue, func(), error) {
	q, done, err := p.open(ctx)
	if err != nil || p.app.Setup == nil {
		return q, done, err
	}
	if err := p.app.Setup(ctx, q); err != nil {
		done()
		return nil, nil, err
	}
	return q, done, nil
}

// storeOf returns the inside of a queue as a T.
func storeOf[T any](q *plainjobs.Queue, what string) (T, error) {
	store, ok := (*engine.Handle)(q).Queue().Backend.(T)
	if !ok {
		return store, fmt.Errorf("%s: %w by %s", what, errors.ErrUnsupported, describe(q))
	}
	return store, nil
}

// describe names the store for people.
func describe(q *plainjobs.Queue) string {
	if d, ok := (*engine.Handle)(q).Queue().Backend.(backend.Describer); ok {
		return d.Describe().Store
	}
	return fmt.Sprintf("%T", (*engine.Handle)(q).Queue().Backend)
}

// variable is the name in the environment of a flag.
func variable(flag string) string {
	return "PLAINJOBS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// variables returns the name of the first flag's variable.
func variables(c *cobra.Command) (first string) {
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if first == "" {
			first = variable(f.Name)
		}
	})
	return first
}

// fromEnvironment sets the flags that the command line did not.
func fromEnvironment(c *cobra.Command) (err error) {
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		text, set := os.LookupEnv(variable(f.Name))
		if f.Changed || !set || text == "" || f.Name == "help" || err != nil {
			return
		}
		if e := c.Flags().Set(f.Name, text); e != nil {
			err = usage("%s=%s: %w", variable(f.Name), clean(text), e)
		}
	})
	return err
}

// wrongFlag is the error of a flag that a command has not, or does not take so.
func wrongFlag(c *cobra.Command, err error) error {
	return usage("%s: %w%s", c.Name(), err, likeFlag(c, err))
}

// likeFlag returns a suggestion for a flag that was mistyped.
func likeFlag(c *cobra.Command, err error) string {
	_, given, found := strings.Cut(err.Error(), "unknown flag: --")
	if !found {
		return ""
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if like := likely(given, names); like != "" {
		return fmt.Sprintf("; did you mean --%s?", like)
	}
	return ""
}
