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
	"github.com/plainjobs/plainjobs/internal/doctor"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A program is an App with the commands' access to time, terminal and signals.
type program struct {
	app      App
	now      func() time.Time
	terminal func(stream any) bool
	// notify relays interrupts, SIGTERM and more to c until stop is called.
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
		p.statsCommand(), p.jobsCommand(), p.showCommand(), p.whyCommand(), p.groupsCommand(), p.groupCommand(), p.flowCommand(),
		p.retryCommand(), p.cancelCommand(), p.deleteCommand(), p.priorityCommand(), p.freeCommand(),
		p.performCommand(), p.signalCommand(),
		p.pauseCommand(), p.resumeCommand(), p.limitCommand(), p.schedulesCommand(), p.backfillCommand(), p.workersCommand(), p.topCommand(), p.envCommand(),
		p.exportCommand(), p.importCommand(), p.backupCommand(), p.restoreCommand(),
		p.checkCommand(), p.doctorCommand(), p.rekeyCommand(), p.migrateCommand(), p.schemaCommand(),
	}
	if p.app.Serve != nil {
		all = append(all, p.serveCommand())
	}
	if p.app.Dashboard != nil {
		all = append(all, p.dashboardCommand())
	}
	return all
}

// An action runs a command.
type action func(ctx context.Context, s *screen, args []string) error

// command completes c with what all commands share. A signal cancels the context.
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
				ignore() // a second signal ends the program at once
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

// signalled is the cause of a context that a signal has cancelled.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return s.String() }

// interrupted adds "interrupted" to an error that does not contain it.
func interrupted(err error) error {
	if strings.Contains(err.Error(), "interrupted") {
		return err
	}
	return fmt.Errorf("interrupted: %w", err)
}

// whole is like command, for an action that handles signals itself.
func (p *program) whole(c *cobra.Command, do action) *cobra.Command {
	c.SilenceUsage = true // an error of the store is not a usage error
	c.DisableFlagsInUseLine = true
	c.SetFlagErrorFunc(wrongFlag)
	if name := variables(c); name != "" {
		c.Long = strings.TrimSpace(c.Long) + "\n\nEach flag can also be set by an environment variable, e.g. " + name + "."
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

// takes requires between least and most arguments.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		n := len(args)
		switch {
		case n < least:
			return usage("%s: missing argument; usage: %s", c.Name(), c.UseLine())
		case n > most:
			return usage("%s: unexpected argument %q; usage: %s", c.Name(), args[most], c.UseLine())
		}
		return nil
	}
}

// readOnlyKey marks the context of a command that does not change the queue.
type readOnlyKey struct{}

// openReadOnly is open for a command that does not change the queue.
func (p *program) openReadOnly(ctx context.Context) (*plainjobs.Queue, func(), error) {
	return p.open(readOnly(ctx))
}

// readOnly marks ctx for [ReadOnly].
func readOnly(ctx context.Context) context.Context {
	return context.WithValue(ctx, readOnlyKey{}, true)
}

// open returns the queue, and a function that closes it.
func (p *program) open(ctx context.Context) (*plainjobs.Queue, func(), error) {
	q, err := p.app.Open(ctx)
	switch {
	case errors.Is(err, backend.ErrSchemaTooNew):
		return nil, nil, fmt.Errorf("%w; nothing has changed", err)
	case err != nil:
		return nil, nil, err
	case q == nil:
		return nil, nil, errors.New("cli: App.Open returned no queue and no error")
	}
	plainjobs.SetDefault(q)
	return q, func() {
		plainjobs.SetDefault(nil)
		err := q.Close()
		if p.app.Close != nil {
			err = errors.Join(err, p.app.Close())
		}
		if err != nil {
			slog.Error("plainjobs: closing the queue failed", "error", err)
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

// storeOf returns a queue's store as a T.
func storeOf[T any](q *plainjobs.Queue, what string) (T, error) {
	store, ok := (*engine.Handle)(q).Queue().Backend.(T)
	if !ok {
		return store, unsupported(q, what)
	}
	return store, nil
}

// unsupported returns the error of a command that the store does not support.
func unsupported(q *plainjobs.Queue, command string) error {
	return fmt.Errorf("%s: %w (store: %s)", command, errors.ErrUnsupported, describe(q))
}

// describe returns the name of the store.
func describe(q *plainjobs.Queue) string { return doctor.Describe(q) }

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return "PLAINJOBS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// variables returns the environment variable of the first flag.
func variables(c *cobra.Command) (first string) {
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if first == "" {
			first = variable(f.Name)
		}
	})
	return first
}

// fromEnvironment sets the flags that the command line does not set.
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

// wrongFlag returns the error for an unknown flag or a wrong value.
func wrongFlag(c *cobra.Command, err error) error {
	return usage("%s: %w%s", c.Name(), err, likeFlag(c, err))
}

// likeFlag returns a suggestion for a mistyped flag.
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
