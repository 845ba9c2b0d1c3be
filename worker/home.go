package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// homeVariable names the environment that a process is of.
const homeVariable = "PLAINJOBS_ENV"

// homeLook is how often a paused worker looks whether it may begin.
const homeLook = time.Second

// findHome returns nil when the worker may begin: when the store belongs to its
// environment, or to none. With Options.Drain it does not wait for that and
// returns an error.
func (s *session) findHome(ctx context.Context) error {
	mine, told := os.Getenv(homeVariable), false
	homer, ok := s.store.(backend.Homer)
	if !ok {
		if mine != "" {
			return fmt.Errorf("%w: %s=%s is set, and %T cannot remember to which environment it belongs, so that a copy of it would be "+
				"worked on: unset the variable, or use another store", backend.ErrInvalid, homeVariable, mine, s.store)
		}
		return nil
	}
	for pause := newPause(); ; {
		asked := time.Now()
		home, err := homeOf(ctx, homer, mine)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, backend.ErrInvalid):
			return fmt.Errorf("%s: %w", homeVariable, err)
		case permanent(err):
			return err
		case err != nil:
			s.log.complain("say which environment it belongs to", err)
			pause.sleep(ctx)
			continue
		case home == "" || home == mine:
			if told {
				s.opts.Logger.Info("plainjobs: not paused any more", "database", home, homeVariable, mine)
			}
			return nil
		}
		pause.reset()
		if s.opts.Heard != nil {
			s.opts.Heard(asked) // it is well, and does as it must
		}
		if !told {
			told = true
			s.opts.Logger.Warn("plainjobs: paused, as the database belongs to another environment and this may be a copy of it",
				"database", home, homeVariable, mine, "release", release(home, mine))
		}
		if s.opts.Drain {
			return fmt.Errorf("nothing was run: the database belongs to %s=%s, and this may be a copy of it", homeVariable, home)
		}
		timer := time.NewTimer(homeLook)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// homeOf returns the environment that the store belongs to, which is mine from
// now on if it belonged to none.
func homeOf(ctx context.Context, homer backend.Homer, mine string) (string, error) {
	home, err := homer.Home(ctx)
	if err != nil || home != "" || mine == "" {
		return home, err
	}
	if moved, err := homer.Move(ctx, "", mine); err != nil || moved {
		return mine, err
	}
	return homer.Home(ctx) // another was faster
}

// release says what lets a paused worker begin.
func release(home, mine string) string {
	if mine == "" {
		return fmt.Sprintf("if it is no copy, set %s=%s; if it is one, run your program with the command: env --forget", homeVariable, home)
	}
	return fmt.Sprintf("if it is no copy, set %s=%s; if it is one, run your program with the command: env %s", homeVariable, home, mine)
}
