package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/backend"
)

func (p *program) envCommand() *cobra.Command {
	var forget bool
	c := &cobra.Command{
		Use:   "env [VALUE | --forget]",
		Short: "Show or change the environment that the database belongs to",
		Long: `Env shows the environment that the database belongs to. The first worker with
PLAINJOBS_ENV set gives the database its environment. Workers of another
environment, or of none, are paused, so that they do not run the jobs of a copy by
mistake. VALUE gives the database another environment, and --forget none. Paused
workers notice at once.`,
		Example: `  env
  env staging
  env --forget`,
		Args: takes(0, 1),
	}
	jsonFlag(c)
	c.Flags().BoolVar(&forget, "forget", false, "give the database no environment, so that any worker runs jobs")
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		if forget && len(args) > 0 || len(args) > 0 && args[0] == "" {
			return usage("env: give a VALUE or --forget, not both; usage: %s", c.UseLine())
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		store, err := storeOf[backend.SettingsStore](q, "env")
		if err != nil {
			return err
		}
		home, err := store.Environment(ctx)
		switch {
		case err != nil:
			return err
		case !forget && len(args) == 0 && s.json:
			return s.object(envRecord{home})
		case !forget && len(args) == 0 && home != "":
			_, err := fmt.Fprintln(s.out, clean(home))
			return err
		case !forget && len(args) == 0:
			s.say("%s", belongs(home))
			return nil
		}
		to := ""
		if len(args) > 0 {
			to = args[0]
		}
		switch moved, err := store.SetEnvironment(ctx, home, to); {
		case err != nil:
			return err
		case !moved:
			return errors.New("env: another process changed the environment at the same time: run env to see it, then repeat")
		}
		if s.json {
			return s.object(envRecord{to})
		}
		s.say("%s", belongs(to))
		return nil
	})
}

// envRecord is the output of env with --json.
type envRecord struct {
	Environment string `json:"environment"`
}

func belongs(home string) string {
	if home == "" {
		return "the database belongs to no environment"
	}
	return "the database belongs to " + clean(home)
}
