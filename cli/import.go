package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

func (p *program) importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import FILE|- [flags]",
		Short: "Store the jobs of an export",
		Long: `Import stores the jobs of an export with their IDs, attempts, keys and history. Jobs
that were running become pending. Import into an empty queue, or into the queue
that was exported: a job that is already there stays unchanged. If another job has
the same ID, the import ends with an error.

Import checks a whole file before it stores a job. From standard input ("-") it
stores some hundreds of jobs at a time. If an import was interrupted, repeat it
before you start a worker: it continues.`,
		Example: `  import backup.jsonl
  gunzip < backup.jsonl.gz | import -`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		var in io.Reader = onlyReader{s.in} // Import would read a seekable input twice
		from := "from standard input"
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			in, from = f, "from "+args[0]
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		t, err := q.Import(ctx, in)
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted; repeat the import to continue: %w", ctx.Err())
			}
			return err
		}
		if err := s.transferred("imported", from, &t); err != nil {
			return err
		}
		if isPaused(ctx, q) {
			s.say("the whole queue is paused: run resume --all to let workers start jobs")
		}
		return nil
	})
}

// An onlyReader hides a reader's other methods.
type onlyReader struct{ io.Reader }

// isPaused reports whether the whole queue is paused.
func isPaused(ctx context.Context, q *plainjobs.Queue) bool {
	names, err := q.Names(ctx)
	return err == nil && len(names) > 0 && names[0].Name == "" && names[0].Paused
}
