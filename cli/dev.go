package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// devGrace is short: a developer waits to start it again.
const devGrace = 3 * time.Second

func (p *program) devCommand() *cobra.Command {
	var sh workOptions
	c := &cobra.Command{
		Use:   "dev [flags]",
		Short: "Run the web server and a worker in one process",
		Long: `Dev runs the program's web server, if it has one, and a worker in one process, and
prints a line for each run.`,
		Example: `  dev
  dev --parallel 4`,
		Args: takes(0, 0),
	}
	sh.flags(p, c)
	c.Flags().DurationVar(&sh.grace, "grace", devGrace, "how long to wait for what runs")
	return p.whole(c, func(ctx context.Context, s *screen, _ []string) error {
		sh.program = called(c.Root().Name())
		sh.lines, sh.serve = true, p.app.Serve
		return p.work(ctx, s, &sh)
	})
}
