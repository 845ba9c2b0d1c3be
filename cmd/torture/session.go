package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/plainjobs/plainjobs/internal/torture"
)

// A session is one call of the command.
type session struct {
	config
	stdout, stderr io.Writer

	ran   int
	wrong bool
}

// run runs the tests, each with every driver. It goes on after findings.
func (s *session) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "torture-programs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.update {
		_ = revision()                              // before the first update
		if err := update(reliability); err != nil { // fails now rather than after hours
			return err
		}
	}
	s.Out, s.Programs = s.stderr, torture.NewPrograms(dir)
	for _, t := range s.tests {
		for _, driver := range s.drivers {
			if !t.RunsOn(driver) && !s.named {
				continue
			}
			if err := s.one(ctx, t, driver); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
		}
	}
	if s.ran == 0 {
		return errors.New("no test has run")
	}
	return nil
}

// one runs a test with a driver. Its error means that the document cannot be
// updated.
func (s *session) one(ctx context.Context, t *torture.Test, driver string) error {
	c := s.Config
	c.Driver = driver
	fmt.Fprintf(s.stderr, "torture: %s on %s, seed %d\n", t.ID, driver, c.Seed)
	r, err := t.Run(ctx, c)
	if skip := (*torture.Skip)(nil); errors.As(err, &skip) {
		fmt.Fprintf(s.stderr, "torture: %s on %s is skipped: %v\n", t.ID, driver, skip)
		return nil
	}
	for _, f := range r.Faults {
		fmt.Fprintf(s.stderr, "torture: %s on %s: %s\n", t.ID, driver, f)
	}
	s.wrong = s.wrong || err != nil || len(r.Faults) > 0
	if err != nil {
		fmt.Fprintln(s.stderr, err)
		s.ran++
		return nil
	}
	s.ran++
	fmt.Fprintln(s.stdout, r)
	if s.update {
		return update(reliability, r)
	}
	return nil
}
