package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

// MoveCommand returns the command that carries a queue from one store to
// another. Open opens a store by what names it on the command line; a new one is
// made only if create is set.
func MoveCommand(open func(ctx context.Context, name string, create bool) (*plainjobs.Queue, error)) *cobra.Command {
	return newProgram(App{}).moveCommand(open)
}

func (p *program) moveCommand(open func(ctx context.Context, name string, create bool) (*plainjobs.Queue, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "move FROM TO [flags]",
		Short: "Carry a queue to another database",
		Long: `Move carries all jobs from one database to another, which is empty or has part
of them from a move that was interrupted: with their numbers, attempts, keys and
history, with limits, pauses of names, and schedules.

It pauses both queues, so that the workers of both wait, waits for the jobs that
run, copies, and compares both. In the end both are still paused, and it says
what is left to do. When it was interrupted, run it again: it goes on.`,
		Example: `  move app.db postgres://app@db.example.com/app
  move postgres://app@db.example.com/app app.db`,
		Args: takes(2, 2),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		from, err := open(ctx, args[0], false)
		if err != nil {
			return fmt.Errorf("FROM: %w", err)
		}
		defer from.Close()
		to, err := open(ctx, args[1], true)
		if err != nil {
			return fmt.Errorf("TO: %w", err)
		}
		defer to.Close()
		t, err := from.MoveTo(ctx, to, func(text string) { s.say("%s", text) })
		switch {
		case ctx.Err() != nil && err != nil:
			return fmt.Errorf("interrupted, with both queues paused; run it again and it goes on, or resume --all the old queue to give up: %w", ctx.Err())
		case err != nil && isPaused(context.WithoutCancel(ctx), from):
			s.say("the old queue is paused: run move again, or resume --all there to give up")
			return err
		case err != nil:
			return err
		}
		if err := s.transferred("moved", "from "+describe(from)+" to "+describe(to), &t); err != nil {
			return err
		}
		s.say("both queues are paused. Now:")
		s.say("1. stop the workers of the old queue")
		s.say("2. have the program open the new one, and start it")
		s.say("3. resume --all in the new one")
		s.say("The old queue stays paused, as it was; delete it when you have seen the new one work.")
		return nil
	})
}
