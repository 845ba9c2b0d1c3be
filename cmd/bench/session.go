package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

// A session is one call of the program.
type session struct {
	config
	progress *progress
	stderr   io.Writer
	onRun    func(result) error // may be nil

	machine machine
	unbuilt map[*driver]error
	results []result
	failed  []error // runs without a result
}

// A combination is what has a median.
type combination struct {
	scenario *child.Scenario
	driver   *driver
	workers  int
}

func (c combination) String() string {
	return fmt.Sprintf("%s %s, workers %d", c.scenario.Name, c.driver.name, c.workers)
}

// plan returns the combinations in the order of a round: those that are to be
// compared, which differ in the driver only, follow each other.
func (c *config) plan() (plan []combination) {
	for _, s := range c.scenarios {
		workers := c.workers
		if !s.Workers {
			workers = []int{1}
		}
		for _, n := range workers {
			for _, d := range c.drivers {
				if d.sql || !s.SQL {
					plan = append(plan, combination{s, d, n})
				}
			}
		}
	}
	return plan
}

// run builds the children and runs all rounds. It returns an error if nothing
// can be measured.
func (s *session) run(ctx context.Context) error {
	defer s.progress.clear()
	bin, err := os.MkdirTemp("", "plainjobs-bench-*") // -dir may be small, or run nothing
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	dir, err := os.MkdirTemp(s.dir, "plainjobs-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s.machine = inspect(dir)

	programs := s.build(ctx, bin)
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(programs) == 0 {
		return fmt.Errorf("no driver could be built: %w", s.unbuilt[s.drivers[0]])
	}
	plan := slices.DeleteFunc(s.plan(), func(c combination) bool { return programs[c.driver] == "" })
	if len(plan) == 0 {
		return errors.New("no driver that the scenario needs could be built")
	}
	for round := range s.count {
		for i, c := range plan {
			s.progress.show("%d of %d: %v", round*len(plan)+i+1, s.count*len(plan), c)
			r, err := s.measure(ctx, programs[c.driver], dir, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				s.failed = append(s.failed, fmt.Errorf("%v: %w", c, err))
				continue
			}
			s.results = append(s.results, r)
			if s.onRun != nil {
				if err := s.onRun(r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// build returns the programs of those drivers that could be built.
func (s *session) build(ctx context.Context, dir string) map[*driver]string {
	programs := map[*driver]string{}
	s.unbuilt = map[*driver]error{}
	for _, d := range s.drivers {
		s.progress.show("building %s", d.name)
		path, err := d.build(ctx, dir)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.unbuilt[d] = err
		default:
			programs[d] = path
		}
	}
	return programs
}

// measure runs a child once, on a file of its own.
func (s *session) measure(ctx context.Context, program, dir string, c combination) (result, error) {
	dir, err := os.MkdirTemp(dir, "run-*")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	order, err := json.Marshal(child.Order{
		Scenario: c.scenario.Name,
		Path:     filepath.Join(dir, "jobs.db"),
		Workers:  c.workers,
		Jobs:     s.jobs,
	})
	if err != nil {
		return result{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe() // stays open: see child.Main
	if err != nil {
		return result{}, err
	}
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	_, writeErr := stdin.Write(order)
	err = cmd.Wait()
	said := strings.TrimSpace(stderr.String())
	if err != nil {
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		if said == "" {
			return result{}, err
		}
		return result{}, fmt.Errorf("%w: %s", err, said)
	}
	if writeErr != nil {
		return result{}, writeErr
	}
	if said != "" { // what the library logged
		s.progress.clear()
		fmt.Fprintf(s.stderr, "%v: %s\n", c, said)
	}
	r := result{combination: c}
	if err := json.Unmarshal(stdout.Bytes(), &r.Result); err != nil {
		return result{}, fmt.Errorf("the child's answer: %w", err)
	}
	return r, nil
}
