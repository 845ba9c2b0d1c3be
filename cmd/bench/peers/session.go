package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A session is one call of the command.
type session struct {
	config
	progress *harness.Progress
	stderr   io.Writer
	onRun    func(line) error // may be nil

	machine string
	runs    []measured
	failed  []error // runs without a result
}

// A combination has one median.
type combination struct {
	scenario   string
	library    *library
	durability string // as the flag asks
	goroutines int
	redis      string
}

func (c combination) String() string {
	text := c.scenario + " " + c.library.String() + " " + c.durability
	if c.redis != "" {
		text += c.redis
	}
	if c.scenario == push {
		text += fmt.Sprintf(", %d goroutines", c.goroutines)
	}
	return text
}

// A measured is one run and its result.
type measured struct {
	combination
	result
}

// plan returns the combinations in the order of a round. Those that differ only
// in the library follow each other.
func (c *config) plan() (plan []combination) {
	for _, s := range c.scenarios {
		goroutines := []int{1}
		if s == push {
			goroutines = c.goroutines
		}
		for _, n := range goroutines {
			for i, d := range c.durabilities {
				for _, l := range c.libraries {
					if l.store != storeRedis {
						plan = append(plan, combination{s, l, d, n, ""})
						continue
					}
					// The Redis server sets its own durability, so it has one
					// run in each round.
					for _, address := range c.redis {
						if i == 0 {
							plan = append(plan, combination{s, l, "", n, address})
						}
					}
				}
			}
		}
	}
	return plan
}

// run runs all rounds.
func (s *session) run(ctx context.Context) error {
	dir, err := os.MkdirTemp(s.dir, "plainjobs-peers-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s.machine = harness.Inspect(dir).String()
	if slices.ContainsFunc(s.libraries, (*library).onServer) {
		server, err := inspectServer(ctx, s.postgres)
		if err != nil {
			return err
		}
		s.machine += "\n" + server
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	plan := s.plan()
	defer s.progress.Clear()
	for round := range s.count {
		for i, c := range plan {
			s.progress.Show("%d of %d: %v", round*len(plan)+i+1, s.count*len(plan), c)
			r, err := s.measure(ctx, program, dir, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				s.failed = append(s.failed, fmt.Errorf("%v: %w", c, err))
				continue
			}
			s.runs = append(s.runs, measured{c, r})
			if s.onRun != nil {
				s.progress.Clear()
				if err := s.onRun(newLine(c, r)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// measure runs a child once, on its own store.
func (s *session) measure(ctx context.Context, program, dir string, c combination) (r result, err error) {
	dir, err = os.MkdirTemp(dir, "run-*")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	jobs := s.jobs
	if jobs == 0 {
		jobs = c.library.jobs
		if c.durability == full {
			jobs = c.library.jobsFull
		}
	}
	o := order{
		Library: c.library.String(), Scenario: c.scenario, Durability: c.durability,
		Goroutines: c.goroutines, Workers: c.library.workers, Jobs: jobs, Time: s.time, Rate: s.rate,
		Path: filepath.Join(dir, "jobs.db"), Postgres: s.postgres, Pool: s.pool, Redis: c.redis,
	}
	if c.library.onServer() {
		o.Schema = schemaName()
		defer func() { err = errors.Join(err, harness.DropSchema(ctx, s.postgres, o.Schema)) }()
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	logged, err := harness.Call(cmd, o, &r)
	if err == nil && logged != "" {
		s.progress.Clear()
		fmt.Fprintf(s.stderr, "%v: %s\n", c, logged)
	}
	return r, err
}

// medians returns a line for each combination that has results.
func (s *session) medians() (all []line) {
	for _, c := range s.plan() {
		var lines []line
		for _, r := range s.runs {
			if r.combination == c {
				lines = append(lines, newLine(c, r.result))
			}
		}
		if len(lines) > 0 {
			all = append(all, medianOf(lines))
		}
	}
	return all
}

// faults returns the errors that make the command fail. Jobs that other
// libraries lost are only in the table.
func (s *session) faults() (faults []error) {
	faults = slices.Clone(s.failed)
	for _, r := range s.runs {
		if r.Lost > 0 && r.library.name == "plainjobs" {
			faults = append(faults, fmt.Errorf("%v: %d of %d jobs were lost", r.combination, r.Lost, r.Jobs))
		}
	}
	if s.named {
		for _, why := range s.leftOut {
			faults = append(faults, fmt.Errorf("%s", why))
		}
	}
	return faults
}
