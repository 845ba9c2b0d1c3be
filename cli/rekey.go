package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (p *program) rekeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rekey",
		Short: "Encrypt stored jobs again, under the current key",
		Long: `Rekey encrypts the payloads, results and steps of all jobs, and the payloads of stored
schedules, under the current key of the queue's codec, those in clear too. Workers may
run meanwhile. It stores what it has done page by page; run it again to continue after an
error. Errors, logs and signals keep their keys until they are deleted.`,
		Example: `  rekey`,
		Args:    takes(0, 0),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		changed, err := q.Rekey(ctx)
		if s.json {
			if e := s.object(rekeyRecord{changed}); err == nil {
				err = e
			}
			return err
		}
		s.say("encrypted again: %s", plural(changed, "job"))
		return err
	})
}

// rekeyRecord is the output of rekey with --json.
type rekeyRecord struct {
	Changed int64 `json:"changed"`
}
