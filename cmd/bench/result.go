package main

import (
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

// A result is what one run gave.
type result struct {
	combination
	child.Result
}

func (r result) jobsPerS() float64 { return float64(r.Jobs) / r.Seconds }

// A summary is what the runs of a combination gave together.
type summary struct {
	combination
	jobs              int
	median, low, high float64 // jobs per second
	lost, repeated    int     // in all runs
	durability        string
}

// summaries returns those of all combinations that have results: by scenario,
// driver and workers, each in the order that was asked for.
func (s *session) summaries() (all []summary) {
	plan := s.plan()
	slices.SortStableFunc(plan, func(a, b combination) int {
		if a.scenario != b.scenario {
			return slices.Index(s.scenarios, a.scenario) - slices.Index(s.scenarios, b.scenario)
		}
		return slices.Index(s.drivers, a.driver) - slices.Index(s.drivers, b.driver)
	})
	for _, c := range plan {
		if sum, ok := summarize(c, s.results); ok {
			all = append(all, sum)
		}
	}
	return all
}

func summarize(c combination, results []result) (summary, bool) {
	sum := summary{combination: c}
	var speeds []float64
	for _, r := range results {
		if r.combination != c {
			continue
		}
		speeds = append(speeds, r.jobsPerS())
		sum.jobs, sum.durability = r.Jobs, r.Durability
		sum.lost += r.Lost
		sum.repeated += r.Repeated
	}
	if len(speeds) == 0 {
		return sum, false
	}
	slices.Sort(speeds)
	sum.median, sum.low, sum.high = median(speeds), speeds[0], speeds[len(speeds)-1]
	return sum, true
}

// median returns the middle of sorted values, or the mean of the two there.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// faults returns what makes the program fail.
func (s *session) faults() (faults []error) {
	for _, r := range s.results {
		if r.Lost > 0 {
			faults = append(faults, fmt.Errorf("%v: %d of %d jobs were lost", r.combination, r.Lost, r.Jobs))
		}
	}
	faults = append(faults, s.failed...)
	if s.named { // otherwise leaving one out is no failure
		faults = append(faults, s.leftOut()...)
	}
	return faults
}

// leftOut returns why drivers were not measured.
func (s *session) leftOut() (why []error) {
	for _, d := range s.drivers {
		if err := s.unbuilt[d]; err != nil {
			why = append(why, fmt.Errorf("%s was not measured: %w", d.name, err))
		}
	}
	return why
}
