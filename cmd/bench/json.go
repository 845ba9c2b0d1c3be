package main

import (
	"encoding/json"
	"io"
	"math"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

// A line is a run, or the median of a combination's runs, as -json prints it.
// Fields that do not apply are absent.
type line struct {
	Scenario   string   `json:"scenario"`
	Case       string   `json:"case,omitempty"`
	Driver     string   `json:"driver"`
	Workers    int      `json:"workers"`
	Processes  int      `json:"processes"`
	Jobs       int      `json:"jobs"`
	JobsPerS   float64  `json:"jobs_per_s"` // 0 if it means nothing
	P50        *float64 `json:"p50_us,omitempty"`
	P95        *float64 `json:"p95_us,omitempty"`
	P99        *float64 `json:"p99_us,omitempty"`
	Max        *float64 `json:"max_us,omitempty"`
	Allocs     *float64 `json:"allocs_per_job,omitempty"`
	Bytes      *float64 `json:"bytes_per_job,omitempty"`
	OfLimit    *float64 `json:"of_limit,omitempty"`
	CPU        *float64 `json:"cpu_percent,omitempty"`
	Wakeups    *float64 `json:"wakeups_per_min,omitempty"`
	Commits    *float64 `json:"commits_per_min,omitempty"`
	Cost       *float64 `json:"cost_percent,omitempty"`
	Peak       *float64 `json:"peak_mib,omitempty"`
	Lost       int      `json:"lost"`
	Repeated   int      `json:"repeated"`
	Durability string   `json:"durability"`
	Median     bool     `json:"median,omitempty"`
}

func (r result) line() line {
	l := newLine(r.combination, r.Measures, r.jobsPerS())
	l.Case, l.Jobs, l.Durability = r.Case, r.Jobs, r.Durability
	l.Lost, l.Repeated = r.Lost, r.Repeated
	if r.limit > 0 {
		l.OfLimit = rounded(r.jobsPerS()/r.limit, 1000)
	}
	return l
}

// line returns the jobs of one run, and the jobs lost and repeated in all runs.
func (s summary) line() line {
	l := newLine(s.combination, s.Measures, s.median)
	l.Case, l.Jobs, l.Durability = s.name, s.jobs, s.durability
	l.Lost, l.Repeated = s.lost, s.repeated
	if s.limit > 0 {
		l.OfLimit = rounded(s.ofLimit, 1000)
	}
	l.Median = true
	return l
}

func newLine(c combination, m child.Measures, speed float64) line {
	l := line{Scenario: c.scenario.Name, Driver: c.driver.name, Workers: c.workers, Processes: c.processes}
	if !c.scenario.Rateless {
		l.JobsPerS = math.Round(speed)
	}
	if m.Latency != nil {
		l.P50, l.P95 = rounded(m.Latency.P50, 10), rounded(m.Latency.P95, 10)
		l.P99, l.Max = rounded(m.Latency.P99, 10), rounded(m.Latency.Max, 10)
	}
	for from, to := range map[*float64]**float64{
		m.Allocs: &l.Allocs, m.Bytes: &l.Bytes, m.CPU: &l.CPU, m.Wakeups: &l.Wakeups, m.Commits: &l.Commits, m.Cost: &l.Cost, m.Peak: &l.Peak,
	} {
		if from != nil {
			*to = rounded(*from, 1000)
		}
	}
	return l
}

// rounded rounds v to a multiple of 1/parts.
func rounded(v, parts float64) *float64 {
	v = math.Round(v*parts) / parts
	return &v
}

func writeJSON(w io.Writer, l line) error { return json.NewEncoder(w).Encode(l) }

func writeMedians(w io.Writer, all []summary) error {
	for _, s := range all {
		if err := writeJSON(w, s.line()); err != nil {
			return err
		}
	}
	return nil
}
