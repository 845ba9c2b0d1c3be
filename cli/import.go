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
		Short: "Store what export has written",
		Long: `Import stores the jobs of an export under the numbers they had, with all that
belongs to them; those that ran wait again. It is for a queue that is empty, or
that has been in the export: a job that is there already stays as it is, and
another job with its number ends the import.

A file is read through before anything is stored. What is read from standard
input ("-") is stored some hundreds of jobs at a time. When an import was
interrupted, repeat it before you start a worker: it goes on.`,
		Example: `  import backup.jsonl
  gunzip < backup.jsonl.gz | import -`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		var in io.Reader = onlyReader{s.in} // read once, also where it could be read twice
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
				return fmt.Errorf("interrupted; repeat the import, and it goes on: %w", ctx.Err())
			}
			return err
		}
		if err := s.transferred("imported", from, &t); err != nil {
			return err
		}
		if isPaused(ctx, q) {
			s.say("the whole queue is paused: resume --all lets workers start")
		}
		return nil
	})
}

// An onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }

// isPaused reports whether the whole queue is paused.
func isPaused(ctx context.Context, q *plainjobs.Queue) bool {
	names, err := q.Names(ctx)
	return err == nil && len(names) > 0 && names[0].Name == "" && names[0].Paused
}
