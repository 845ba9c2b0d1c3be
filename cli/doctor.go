package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/doctor"
)

func (p *program) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Examine the database as this program opens it",
		Long: `Doctor examines the store as this program opens it, including the application's own
connections, and reports waiting jobs that no worker runs. Each finding includes a
fix.

It compares counts, unique keys, serial keys, errors, results and progress with the
jobs. They differ if jobs were deleted or changed by SQL. With --repair it corrects
them; workers may run meanwhile.`,
		Example: `  doctor
  doctor --repair
  doctor --json | jq 'select(.ok | not)'`,
		Args: takes(0, 0),
	}
	var repair bool
	c.Flags().BoolVar(&repair, "repair", false, "correct counts, keys and other data derived from the jobs")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		var r doctor.Report
		if err := r.Examine(ctx, q, backend.ExamineRequest{Derived: true, Repair: repair}); err != nil {
			return err
		}
		return s.report(&r)
	})
}
