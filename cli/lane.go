package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/worker"
)

// A namedJob is a job of which a worker needs only the name.
type namedJob struct {
	plainjobs.AnyJob
	name string
}

func (j namedJob) Name() string { return j.name }

// named returns the jobs with the names that a flag has, or nil without names.
func named(flag string, names []string) (jobs []plainjobs.AnyJob, err error) {
	var all []string
	for _, d := range engine.Definitions() {
		all = append(all, d.Name)
	}
	for _, name := range names {
		if engine.Lookup(name) == nil {
			return nil, usage("%s: this program defines no job named %s%s", flag, name, didYouMean(name, all))
		}
		jobs = append(jobs, namedJob{name: name})
	}
	return jobs, nil
}

// lanesOf returns the lanes that --lanes names.
func lanesOf(text string) (lanes []worker.Lane, err error) {
	for _, field := range strings.Fields(text) {
		slots, names, found := strings.Cut(field, ":") // a name may have a colon, too
		n, err := strconv.Atoi(slots)
		if !found || names == "" || err != nil || n < 1 || n > 100_000 {
			return nil, usage(`--lanes %q: give "N:NAMES", with N from 1 to 100000 and the names of jobs separated by commas`, field)
		}
		jobs, err := named("--lanes", strings.Split(names, ","))
		if err != nil {
			return nil, err
		}
		lanes = append(lanes, worker.Lane{Jobs: jobs, Concurrency: n})
	}
	return lanes, nil
}

// found prints the store, the jobs by lane, and the schedules.
func (s *screen) found(q *plainjobs.Queue, o *workOptions, lanes []worker.Lane) {
	s.say("%s  parallel %d", describe(q), o.parallel)
	laneOf := map[*engine.Definition]int{} // from 1
	for i, lane := range lanes {
		for _, job := range lane.Jobs {
			laneOf[engine.Lookup(job.Name())] = i + 1
		}
	}
	works := func(d *engine.Definition) bool {
		return laneOf[d] > 0 || (o.jobs == nil || slices.Contains(o.jobs, d.Name)) && !slices.Contains(o.except, d.Name)
	}
	var t table
	first := "jobs"
	for i := range 1 + len(lanes) {
		if i > 0 {
			first = fmt.Sprintf("lane of %d", lanes[i-1].Concurrency)
		}
		for _, d := range engine.Definitions() {
			if works(d) && laneOf[d] == i {
				t.add(first, d.Name, "", place(d.Where))
				first = ""
			}
		}
	}
	first = "schedules"
	for _, d := range (*engine.Handle)(q).Queue().Schedules() {
		if works(d.Job) && !o.noCron {
			t.add(first, d.Name, d.Spec, nextTick(d, s.now))
			first = ""
		}
	}
	t.add("inspect", fmt.Sprintf("%s stats, jobs or top", o.program))
	_ = t.write(s, false) // the worker runs even if this cannot be printed
}
