package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

// MoveCommand returns the command that moves a queue from one store to another. Open
// opens a store by its name on the command line. It may create a store only if create
// is true.
func MoveCommand(open func(ctx context.Context, name string, create bool) (*plainjobs.Queue, error)) *cobra.Command {
	return newProgram(App{}).moveCommand(open)
}

func (p *program) moveCommand(open func(ctx context.Context, name string, create bool) (*plainjobs.Queue, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "move FROM TO [flags]",
		Short: "Move a queue to another database",
		Long: `Move copies all jobs from one database to another, with their IDs, attempts, keys and
history, and with limits, pauses of names, and schedules. The target must be empty,
or hold part of an interrupted move.

Move pauses both queues, waits until no job runs, copies the jobs, and compares both
queues. At the end both queues are still paused, and move prints the remaining
steps. If a move was interrupted, run it again: it continues.`,
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
			return fmt.Errorf("interrupted, with both queues paused: run move again to continue, or run resume --all on the old queue to give up: %w", ctx.Err())
		case err != nil && isPaused(context.WithoutCancel(ctx), from):
			s.say("the old queue is paused: run move again, or run resume --all there to give up")
			return err
		case err != nil:
			return err
		}
		if err := s.transferred("moved", "from "+describe(from)+" to "+describe(to), &t); err != nil {
			return err
		}
		s.say("Both queues are paused. Next steps:")
		s.say("1. stop the workers of the old queue")
		s.say("2. change the program to open the new queue, and start it")
		s.say("3. run resume --all on the new queue")
		s.say("The old queue is unchanged and stays paused. Delete it once the new one works.")
		return nil
	})
}
