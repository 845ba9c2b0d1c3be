package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// environmentVariable is the variable with the environment that a process belongs to.
const environmentVariable = "PLAINJOBS_ENV"

// environmentPoll is how often a paused worker looks whether it may begin.
const environmentPoll = time.Second

// checkEnvironment returns nil when the worker may begin: when the store belongs to its
// environment, or to none. With Options.Drain it does not wait for that and returns an
// error.
func checkEnvironment(ctx context.Context, s *setup) error {
	mine, paused := os.Getenv(environmentVariable), false
	store, ok := s.store.(backend.SettingsStore)
	if !ok {
		if mine != "" {
			return fmt.Errorf("%w: %s=%s is set, and %T cannot store the environment that it belongs to, so the worker could not tell a copy: "+
				"unset the variable, or use another store", backend.ErrInvalid, environmentVariable, mine, s.store)
		}
		return nil
	}
	for pause := newBackoff(); ; {
		asked := time.Now()
		theirs, err := environmentOf(ctx, store, mine)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, backend.ErrInvalid):
			return fmt.Errorf("%s: %w", environmentVariable, err)
		case permanent(err):
			return err
		case err != nil:
			s.log.warn("return the environment that it belongs to", err)
			pause.wait(ctx)
			continue
		case theirs == "" || theirs == mine:
			if paused {
				s.opts.Logger.Info("plainjobs: no longer paused", "environment", theirs, environmentVariable, mine)
			}
			return nil
		}
		pause.reset()
		if s.opts.OnHeartbeat != nil {
			s.opts.OnHeartbeat(asked) // the store answers, and the worker does what it must
		}
		if !paused {
			paused = true
			s.opts.Logger.Warn("plainjobs: paused: the database belongs to another environment, so it may be a copy",
				"environment", theirs, environmentVariable, mine, "fix", howToStart(theirs, mine))
		}
		if s.opts.Drain {
			return fmt.Errorf("no job was run: the database belongs to %s=%s, so it may be a copy", environmentVariable, theirs)
		}
		s.ready()
		timer := time.NewTimer(environmentPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// environmentOf returns the environment that the store belongs to. A store that belongs
// to none belongs to mine from now on.
func environmentOf(ctx context.Context, store backend.SettingsStore, mine string) (string, error) {
	theirs, err := store.Environment(ctx)
	if err != nil || theirs != "" || mine == "" {
		return theirs, err
	}
	if set, err := store.SetEnvironment(ctx, "", mine); err != nil || set {
		return mine, err
	}
	return store.Environment(ctx) // another process was faster
}

// howToStart returns what lets a paused worker begin.
func howToStart(theirs, mine string) string {
	command := "env " + mine
	if mine == "" {
		command = "env --forget"
	}
	return fmt.Sprintf("if it is no copy, set %s=%s; if it is a copy, run your program's command: %s", environmentVariable, theirs, command)
}
