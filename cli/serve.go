package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func (p *program) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Run the web server without a worker",
		Long:    `Serve runs the program's web server without a worker. Jobs wait for a worker.`,
		Example: `  serve`,
		Args:    takes(0, 0),
	}
	return p.command(c, func(ctx context.Context, _ *screen, _ []string) error {
		_, done, err := p.setUp(ctx)
		if err != nil {
			return err
		}
		defer done()
		err = p.app.Serve(ctx)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // a signal ended it
		}
		return err
	})
}
