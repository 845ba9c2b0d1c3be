package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

func (p *program) whyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "why ID [flags]",
		Short:   "Explain in one sentence why a job does not run",
		Long:    `Why explains what a job waits for, or how it ended.`,
		Example: `  why 42`,
		Args:    takes(1, 1),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		return p.withJob(ctx, args[0], func(q *plainjobs.Queue, i *plainjobs.Info) error {
			why, err := q.Why(ctx, i.ID)
			switch {
			case err != nil:
				return err
			case s.json:
				return s.object(struct {
					ID    int64  `json:"id"`
					State string `json:"state"`
					Why   string `json:"why"`
				}{i.ID, i.State.String(), why})
			}
			_, err = fmt.Fprintln(s.out, clean(why))
			return err
		})
	})
}
