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

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A session is one call of the command.
type session struct {
	config
	progress *harness.Progress
	stderr   io.Writer
	onRun    func(result) error // may be nil

	machine machine
	unbuilt map[*driver]error
	results []result
	failed  []error // runs without a result
}

// A combination has one median.
type combination struct {
	scenario *child.Scenario
	driver   *driver
	workers  int
	// processes is 1 if the scenario has no number of processes.
	processes int
}

func (c combination) String() string {
	text := fmt.Sprintf("%s %s, workers %d", c.scenario.Name, c.driver.name, c.workers)
	if len(c.scenario.Processes) > 0 {
		text += fmt.Sprintf(", processes %d", c.processes)
	}
	return text
}

// plan returns the combinations in the order of a round. Those that differ only
// in the driver follow each other.
func (c *config) plan() (plan []combination) {
	for _, s := range c.scenarios {
		workers, processes := s.Workers, []int{1}
		switch {
		case len(workers) == 0:
			workers = []int{1}
		case len(c.workers) > 0:
			workers = c.workers
		}
		if len(s.Processes) > 0 {
			processes = s.Processes
			if len(c.processes) > 0 {
				processes = c.processes
			}
		}
		for _, n := range workers {
			for _, p := range processes {
				for _, d := range c.drivers {
					if s.Is(d.kind) {
						plan = append(plan, combination{s, d, n, p})
					}
				}
			}
		}
	}
	return plan
}

// run builds the children and runs all rounds. It returns an error if nothing
// can be measured.
func (s *session) run(ctx context.Context) error {
	defer s.progress.Clear()
	bin, err := os.MkdirTemp("", "plainjobs-bench-*") // -dir may be small, or noexec
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	dir, err := os.MkdirTemp(s.dir, "plainjobs-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s.machine = machine{Machine: harness.Inspect(dir), sqlite: map[string]string{}, servers: map[*driver]*server{}}
	for _, d := range s.drivers {
		if d.onServer() {
			if s.machine.servers[d], err = inspectServer(ctx, d, s.dsn(d)); err != nil {
				return err
			}
		}
	}

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
	runs, most, at := 0, 0, 0
	for _, c := range plan {
		runs += s.countOf(c.scenario)
		most = max(most, s.countOf(c.scenario))
	}
	for round := range most {
		for _, c := range plan {
			if round >= s.countOf(c.scenario) {
				continue
			}
			at++
			s.progress.Show("%d of %d: %v", at, runs, c)
			results, err := s.compare(ctx, programs[c.driver], dir, c, round%2 == 1)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				s.failed = append(s.failed, fmt.Errorf("%v: %w", c, err))
				continue
			}
			for _, r := range results {
				s.results = append(s.results, r)
				if s.onRun != nil {
					if err := s.onRun(r); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// compare runs a combination once, and its reference, if it has one. In every
// second round the reference goes first.
func (s *session) compare(
	ctx context.Context, program, dir string, c combination, referenceFirst bool,
) (results []result, err error) {
	n := s.jobsOf(c.scenario, c.workers)
	reference := c.scenario.Limit(c.driver.kind)
	if reference == nil {
		return s.measure(ctx, program, dir, c, n)
	}
	most := n
	if reference.Most > 0 {
		most = min(n, reference.Most)
	}
	workers := 1
	if len(reference.Workers) > 0 {
		workers = c.workers
	}
	var references []result
	for _, turn := range []bool{referenceFirst, !referenceFirst} {
		if turn {
			references, err = s.measure(ctx, program, dir, combination{reference, c.driver, workers, 1}, most)
			if err == nil && (len(references) != 1 || references[0].Lost > 0) {
				err = errors.New("jobs were lost")
			}
			if err != nil {
				return nil, fmt.Errorf("its reference: %w", err)
			}
		} else if results, err = s.measure(ctx, program, dir, c, n); err != nil {
			return nil, err
		}
	}
	for i := range results {
		results[i].limit = references[0].jobsPerS()
	}
	return results, nil
}

// build returns the programs of the drivers that could be built.
func (s *session) build(ctx context.Context, dir string) map[*driver]string {
	programs := map[*driver]string{}
	s.unbuilt = map[*driver]error{}
	for _, d := range s.drivers {
		s.progress.Show("building %s", d.name)
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

// measure runs a child once, on its own file or schema, and returns a result
// for each case.
func (s *session) measure(ctx context.Context, program, dir string, c combination, jobs int) (results []result, err error) {
	dir, err = os.MkdirTemp(dir, "run-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	profile := ""
	if s.profile != "" && slices.Contains(s.scenarios, c.scenario) {
		if profile, err = filepath.Abs(s.profile); err != nil {
			return nil, err
		}
	}
	o := child.Order{
		Scenario:   c.scenario.Name,
		Path:       filepath.Join(dir, "jobs.db"),
		Workers:    c.workers,
		Processes:  c.processes,
		Jobs:       jobs,
		Brief:      s.brief,
		Long:       s.long,
		CPUProfile: profile,
	}
	own := s.machine.servers[c.driver] // nil without a server
	if own != nil {
		o.DSN, o.Schema = own.dsn, own.schema()
		defer func() { err = errors.Join(err, own.drop(ctx, own.dsn, o.Schema)) }()
	}
	var answer child.Answer
	logged, err := harness.Call(exec.CommandContext(ctx, program), o, &answer)
	if err != nil {
		return nil, err
	}
	if logged != "" {
		s.progress.Clear()
		fmt.Fprintf(s.stderr, "%v: %s\n", c, logged)
	}
	if answer.SQLite != "" {
		s.machine.sqlite[c.driver.name] = answer.SQLite
	}
	results = make([]result, len(answer.Results))
	for i, r := range answer.Results {
		if own != nil {
			r.Durability = own.durability(r.Durability)
		}
		results[i] = result{combination: c, Result: r}
	}
	return results, nil
}
