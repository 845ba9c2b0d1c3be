package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/plainjobs/plainjobs/internal/torture"
)

// A session is one call of the program.
type session struct {
	config
	stdout, stderr io.Writer

	results []torture.Result
	wrong   bool
}

// run runs the tests, each with every driver, and goes on when one finds
// something.
func (s *session) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "torture-programs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s.Out, s.Programs = s.stderr, torture.NewPrograms(dir)
	for _, t := range s.tests {
		for _, driver := range s.drivers {
			if !t.RunsOn(driver) && !s.named {
				continue
			}
			s.one(ctx, t, driver)
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
		}
	}
	if s.update {
		return update(reliability, s.results)
	}
	return nil
}

func (s *session) one(ctx context.Context, t *torture.Test, driver string) {
	c := s.Config
	c.Driver = driver
	fmt.Fprintf(s.stderr, "torture: %s on %s, seed %d\n", t.ID, driver, c.Seed)
	r, err := t.Run(ctx, c)
	if skip := (*torture.Skip)(nil); errors.As(err, &skip) {
		fmt.Fprintf(s.stderr, "torture: %s on %s is skipped: %v\n", t.ID, driver, skip)
		return
	}
	for _, f := range r.Faults {
		fmt.Fprintf(s.stderr, "torture: %s on %s: %s\n", t.ID, driver, f)
	}
	s.wrong = s.wrong || err != nil || len(r.Faults) > 0
	if err != nil {
		fmt.Fprintln(s.stderr, err)
		return
	}
	fmt.Fprintln(s.stdout, r)
	s.results = append(s.results, r)
}
