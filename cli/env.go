package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// envVariable names the environment that a process is of, see package worker.
const envVariable = "PLAINJOBS_ENV"

func (p *program) envCommand() *cobra.Command {
	var forget bool
	c := &cobra.Command{
		Use:   "env [VALUE | --forget]",
		Short: "Show or change the environment that the database belongs to",
		Long: `Env shows the environment that the database belongs to: what PLAINJOBS_ENV was for
the first worker that had it. Workers of another environment, or of none, are
paused, so that nobody works on a copy by mistake. With VALUE the database belongs
to that from now on, and with --forget to none; paused workers begin at once.`,
		Example: `  env
  env staging
  env --forget`,
		Args: takes(0, 1),
	}
	jsonFlag(c)
	c.Flags().BoolVar(&forget, "forget", false, "belong to no environment, so that any worker may work")
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		if forget && len(args) > 0 || len(args) > 0 && args[0] == "" {
			return usage("env: one of a value and --forget: usage: %s", c.UseLine())
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		store, ok := (*engine.Handle)(q).Queue().Backend.(backend.SettingsStore)
		if !ok {
			return fmt.Errorf("env: %w by %T", errors.ErrUnsupported, (*engine.Handle)(q).Queue().Backend)
		}
		home, err := store.Environment(ctx)
		switch {
		case err != nil:
			return err
		case !forget && len(args) == 0 && s.json:
			return s.object(belonging{home})
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
			return errors.New("env: somebody else has changed it at the same time: look at it again")
		}
		if s.json {
			return s.object(belonging{to})
		}
		s.say("%s", belongs(to))
		return nil
	})
}

// belonging is what env prints with --json.
type belonging struct {
	Environment string `json:"environment"`
}

func belongs(home string) string {
	if home == "" {
		return "the database belongs to no environment"
	}
	return "the database belongs to " + clean(home)
}

// environment looks whether workers of this process's environment may work.
func (r *report) environment(ctx context.Context, q *plainjobs.Queue) error {
	store, ok := (*engine.Handle)(q).Queue().Backend.(backend.SettingsStore)
	if !ok {
		return nil
	}
	mine := os.Getenv(envVariable)
	home, err := store.Environment(ctx)
	switch {
	case err != nil || home == "" && mine == "":
	case home == "" || home == mine:
		r.well("environment", "%s", mine)
	default:
		r.bad("environment", fmt.Sprintf("set %s=%s, or if this is a copy: env VALUE, or env --forget", envVariable, home),
			"the database belongs to %s and %s is %q: workers like this process are paused", home, envVariable, mine)
	}
	return err
}
