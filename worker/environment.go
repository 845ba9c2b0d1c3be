package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// environmentVariable names the environment that a process is of.
const environmentVariable = "PLAINJOBS_ENV"

// environmentPoll is how often a paused worker looks whether it may begin.
const environmentPoll = time.Second

// checkEnvironment returns nil when the worker may begin: when the store belongs to its
// environment, or to none. With Options.Drain it does not wait for that and
// returns an error.
func (s *session) checkEnvironment(ctx context.Context) error {
	mine, told := os.Getenv(environmentVariable), false
	store, ok := s.store.(backend.SettingsStore)
	if !ok {
		if mine != "" {
			return fmt.Errorf("%w: %s=%s is set, and %T cannot remember to which environment it belongs, so that a copy of it would be "+
				"worked on: unset the variable, or use another store", backend.ErrInvalid, environmentVariable, mine, s.store)
		}
		return nil
	}
	for pause := newBackoff(); ; {
		asked := time.Now()
		home, err := environmentOf(ctx, store, mine)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, backend.ErrInvalid):
			return fmt.Errorf("%s: %w", environmentVariable, err)
		case permanent(err):
			return err
		case err != nil:
			s.log.warn("say which environment it belongs to", err)
			pause.wait(ctx)
			continue
		case home == "" || home == mine:
			if told {
				s.opts.Logger.Info("plainjobs: not paused any more", "database", home, environmentVariable, mine)
			}
			return nil
		}
		pause.reset()
		if s.opts.OnHeartbeat != nil {
			s.opts.OnHeartbeat(asked) // it is well, and does as it must
		}
		if !told {
			told = true
			s.opts.Logger.Warn("plainjobs: paused, as the database belongs to another environment and this may be a copy of it",
				"database", home, environmentVariable, mine, "release", howToStart(home, mine))
		}
		if s.opts.Drain {
			return fmt.Errorf("nothing was run: the database belongs to %s=%s, and this may be a copy of it", environmentVariable, home)
		}
		timer := time.NewTimer(environmentPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// environmentOf returns the environment that the store belongs to, which is mine from
// now on if it belonged to none.
func environmentOf(ctx context.Context, store backend.SettingsStore, mine string) (string, error) {
	home, err := store.Environment(ctx)
	if err != nil || home != "" || mine == "" {
		return home, err
	}
	if moved, err := store.SetEnvironment(ctx, "", mine); err != nil || moved {
		return mine, err
	}
	return store.Environment(ctx) // another was faster
}

// howToStart says what lets a paused worker begin.
func howToStart(home, mine string) string {
	if mine == "" {
		return fmt.Sprintf("if it is no copy, set %s=%s; if it is one, run your program with the command: env --forget", environmentVariable, home)
	}
	return fmt.Sprintf("if it is no copy, set %s=%s; if it is one, run your program with the command: env %s", environmentVariable, home, mine)
}
