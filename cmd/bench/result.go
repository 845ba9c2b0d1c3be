package main

import (
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A result is the result of one run, in one case.
type result struct {
	combination
	child.Result
	limit float64 // jobs per second of the reference run; 0 is none
}

func (r result) jobsPerS() float64 { return float64(r.Jobs) / r.Seconds }

// A summary is the result of all runs of a combination, in one case.
type summary struct {
	combination
	child.Measures    // medians
	name              string
	jobs, runs        int
	median, low, high float64 // jobs per second
	limit, ofLimit    float64 // 0 is none
	lost, repeated    int     // in all runs
	durability        string
}

// summaries returns the summaries of all combinations with results, by
// scenario, driver, workers and processes, each in the order of its flag.
func (s *session) summaries() (all []summary) {
	plan := s.plan()
	slices.SortStableFunc(plan, func(a, b combination) int {
		if a.scenario != b.scenario {
			return slices.Index(s.scenarios, a.scenario) - slices.Index(s.scenarios, b.scenario)
		}
		return slices.Index(s.drivers, a.driver) - slices.Index(s.drivers, b.driver)
	})
	for _, c := range plan {
		all = append(all, summarize(c, s.results)...)
	}
	return all
}

// summarize returns a summary for each case of a combination.
func summarize(c combination, results []result) (all []summary) {
	cases := map[string][]result{}
	var names []string
	for _, r := range results {
		if r.combination == c {
			if cases[r.Case] == nil {
				names = append(names, r.Case)
			}
			cases[r.Case] = append(cases[r.Case], r)
		}
	}
	for _, name := range names {
		all = append(all, summarizeCase(c, name, cases[name]))
	}
	return all
}

func summarizeCase(c combination, name string, results []result) summary {
	sum := summary{combination: c, name: name, runs: len(results)}
	var speeds, limits, shares []float64
	for _, r := range results {
		speeds = append(speeds, r.jobsPerS())
		if r.limit > 0 {
			limits = append(limits, r.limit)
			shares = append(shares, r.jobsPerS()/r.limit)
		}
		sum.jobs, sum.durability = r.Jobs, r.Durability
		sum.lost += r.Lost
		sum.repeated += r.Repeated
	}
	sum.median, sum.low, sum.high = harness.Median(speeds), slices.Min(speeds), slices.Max(speeds)
	if len(limits) > 0 {
		sum.limit, sum.ofLimit = harness.Median(limits), harness.Median(shares)
	}
	sum.Allocs = medianOf(results, func(m child.Measures) *float64 { return m.Allocs })
	sum.Bytes = medianOf(results, func(m child.Measures) *float64 { return m.Bytes })
	sum.CPU = medianOf(results, func(m child.Measures) *float64 { return m.CPU })
	sum.Wakeups = medianOf(results, func(m child.Measures) *float64 { return m.Wakeups })
	sum.Commits = medianOf(results, func(m child.Measures) *float64 { return m.Commits })
	sum.Cost = medianOf(results, func(m child.Measures) *float64 { return m.Cost })
	sum.Peak = medianOf(results, func(m child.Measures) *float64 { return m.Peak })
	of := func(f func(*child.Latency) float64) float64 {
		v := medianOf(results, func(m child.Measures) *float64 {
			if m.Latency == nil {
				return nil
			}
			v := f(m.Latency)
			return &v
		})
		return *v
	}
	if slices.ContainsFunc(results, func(r result) bool { return r.Latency != nil }) {
		sum.Latency = &child.Latency{
			P50: of(func(l *child.Latency) float64 { return l.P50 }),
			P95: of(func(l *child.Latency) float64 { return l.P95 }),
			P99: of(func(l *child.Latency) float64 { return l.P99 }),
			Max: of(func(l *child.Latency) float64 { return l.Max }),
		}
	}
	return sum
}

// medianOf returns the median of a measure over the results that have it, nil
// if none has.
func medianOf(results []result, measure func(child.Measures) *float64) *float64 {
	var values []float64
	for _, r := range results {
		if v := measure(r.Measures); v != nil {
			values = append(values, *v)
		}
	}
	if len(values) == 0 {
		return nil
	}
	m := harness.Median(values)
	return &m
}

// faults returns the errors that make the command fail.
func (s *session) faults() (faults []error) {
	for _, r := range s.results {
		if r.Lost > 0 {
			faults = append(faults, fmt.Errorf("%v: %d of %d jobs were lost", r.combination, r.Lost, r.Jobs))
		}
	}
	faults = append(faults, s.failed...)
	if s.named { // otherwise a driver may be left out
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
