package worker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A Lane has slots of its own for some jobs of a worker, so that other jobs delay them as
// little as those of another worker do. In the store each lane is a worker of its own, with
// its own row, heartbeats, claims and prefetched jobs.
type Lane struct {
	// Jobs share the slots. Each job is in one lane at most.
	Jobs []plainjobs.AnyJob
	// Concurrency is how many handlers of the lane run at once, at most 100,000. Zero is
	// GOMAXPROCS, or one for a job of DefineBatch, which is in a lane alone.
	Concurrency int
}

// A share is the jobs that share slots, by each of their names.
type share struct {
	jobs        map[string]*engine.Definition
	concurrency int
}

// shares returns the jobs outside of lanes, if there are any, with a concurrency, and those
// of each lane.
func (w *Worker) shares(concurrency int) ([]share, error) {
	taken := map[*engine.Definition]string{}
	except, err := definitions("Options.Except", w.opts.Except)
	if err != nil {
		return nil, err
	}
	for _, d := range except {
		taken[d] = "Options.Except"
	}
	var lanes []share
	for i, lane := range w.opts.Lanes {
		field := fmt.Sprintf("Options.Lanes[%d]", i)
		defs, err := definitions(field+".Jobs", lane.Jobs)
		switch {
		case err != nil:
			return nil, err
		case len(defs) == 0:
			return nil, fmt.Errorf("%s has no jobs: list those that share its slots", field)
		}
		for _, d := range defs {
			if other, ok := taken[d]; ok && other != field {
				return nil, fmt.Errorf("%s has the job %s, and so has %s: name it in one of them", field, d.Name, other)
			}
			taken[d] = field
		}
		jobs, err := w.bound(defs)
		if err != nil {
			return nil, err
		}
		n, err := resolveConcurrency(field+".Concurrency", lane.Concurrency)
		if err != nil {
			return nil, err
		}
		for _, d := range jobs {
			switch {
			case d.Batch && len(defs) > 1:
				return nil, fmt.Errorf("%s has the batch job %s and other jobs: a batch job has slots of its own; leave it out, or give it a lane alone", field, d.Name)
			case d.Batch && lane.Concurrency == 0:
				n = max(1, d.Concurrency)
			}
		}
		lanes = append(lanes, share{jobs, n})
	}
	rest, err := w.rest(taken)
	if err != nil {
		return nil, err
	}
	lanes = append(lanes, batches(rest)...)
	if len(rest) > 0 {
		lanes = slices.Insert(lanes, 0, share{rest, concurrency})
	}
	if len(lanes) == 0 {
		return nil, errors.New("the program defines no jobs that the worker may claim: define some, import their package, or change Options.Jobs or Options.Except")
	}
	return lanes, nil
}

// batches takes the jobs of DefineBatch out of jobs and returns a share for each.
func batches(jobs map[string]*engine.Definition) (shares []share) {
	byName := map[string]map[string]*engine.Definition{}
	for name, d := range jobs {
		if d.Batch {
			delete(jobs, name)
			if byName[d.Name] == nil {
				byName[d.Name] = map[string]*engine.Definition{}
			}
			byName[d.Name][name] = d
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		shares = append(shares, share{byName[name], max(1, byName[name][name].Concurrency)})
	}
	return shares
}

// rest returns the jobs that are not taken by a lane or excepted.
func (w *Worker) rest(taken map[*engine.Definition]string) (map[string]*engine.Definition, error) {
	defs := engine.Definitions()
	if w.opts.Jobs != nil {
		var err error
		if defs, err = definitions("Options.Jobs", w.opts.Jobs); err != nil {
			return nil, err
		}
	}
	var rest []*engine.Definition
	for _, d := range defs {
		if _, ok := taken[d]; !ok {
			rest = append(rest, d)
		}
	}
	return w.bound(rest)
}

// definitions returns the definitions of a field's jobs.
func definitions(field string, jobs []plainjobs.AnyJob) (defs []*engine.Definition, err error) {
	for i, job := range jobs {
		if job == nil || job.Name() == "" {
			return nil, fmt.Errorf("%s[%d] is nil", field, i)
		}
		defs = append(defs, engine.Lookup(job.Name()))
	}
	return defs, nil
}

// bound returns definitions as the queue configures them, by each of their names. A job
// without a handler is an error.
func (w *Worker) bound(defs []*engine.Definition) (map[string]*engine.Definition, error) {
	byName := map[string]*engine.Definition{}
	var unbound []string
	for _, d := range defs {
		d = w.queue.Definition(d)
		if w.queue.Handler(d) == nil {
			unbound = append(unbound, fmt.Sprintf("%s (declared at %s)", d.Name, d.Where))
		}
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			byName[name] = d
		}
	}
	if len(unbound) > 0 {
		return nil, fmt.Errorf("no handler for %s: bind one with plainjobs.Handle, or leave the job out with Options.Jobs or Options.Except",
			strings.Join(unbound, ", "))
	}
	return byName, nil
}
