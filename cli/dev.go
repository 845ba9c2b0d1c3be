package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// devGrace is short because a developer waits to restart the program.
const devGrace = 3 * time.Second

func (p *program) devCommand() *cobra.Command {
	var o workOptions
	c := &cobra.Command{
		Use:   "dev [flags]",
		Short: "Run the web server and a worker in one process",
		Long: `Dev runs a worker, and the program's web server if it has one, in one process. It
prints a line for each run. If the program has a dashboard, dev serves it to this
machine and prints its address; --dashboard off serves none.`,
		Example: `  dev
  dev --parallel 4`,
		Args: takes(0, 0),
	}
	o.flags(p, c)
	c.Flags().DurationVar(&o.grace, "grace", devGrace, "how long to wait for running jobs")
	if p.app.Dashboard != nil {
		c.Flags().StringVar(&o.dashboard, "dashboard", devDashboard, "serve the dashboard at the loopback `ADDRESS`, or off; another port if the default is in use")
	}
	return p.whole(c, func(ctx context.Context, s *screen, _ []string) error {
		o.program = called(c.Root().Name())
		o.lines, o.serve = true, p.app.Serve
		return p.work(ctx, s, &o)
	})
}
