package main

import (
	"encoding/json"
	"io"
	"math"
	"slices"
)

// A line is a run, or the median of a combination's runs, as -json prints it.
type line struct {
	Library       string  `json:"library"`
	Version       string  `json:"version"`
	Driver        string  `json:"driver"`
	DriverVersion string  `json:"driver_version"`
	Store         string  `json:"store"`
	Scenario      string  `json:"scenario"`
	Goroutines    int     `json:"goroutines,omitempty"` // of push
	Workers       int     `json:"workers,omitempty"`
	Jobs          int     `json:"jobs"`
	JobsPerS      float64 `json:"jobs_per_s"`
	P50           float64 `json:"p50_us,omitempty"`
	P95           float64 `json:"p95_us,omitempty"`
	P99           float64 `json:"p99_us,omitempty"`
	Max           float64 `json:"max_us,omitempty"`
	Lost          int     `json:"lost"`
	Repeated      int     `json:"repeated"`
	// Durability of pushes, and of the record that a job was done.
	Durability     string `json:"durability"`
	WorkDurability string `json:"work_durability,omitempty"`
	Median         bool   `json:"median,omitempty"`

	setup     string
	low, high float64 // jobs per second, in a median
}

func newLine(c combination, r result) line {
	l := line{
		Library:        c.library.name,
		Version:        c.library.version(),
		Driver:         c.library.driver,
		DriverVersion:  c.library.driverVersion(),
		Store:          c.library.store,
		Scenario:       c.scenario,
		Jobs:           r.Jobs,
		JobsPerS:       math.Round(float64(r.Jobs) / r.Seconds),
		P50:            math.Round(r.P50),
		P95:            math.Round(r.P95),
		P99:            math.Round(r.P99),
		Max:            math.Round(r.Max),
		Lost:           r.Lost,
		Repeated:       r.Repeated,
		Durability:     r.Durability,
		WorkDurability: r.Work,
		setup:          c.library.setup,
	}
	if c.scenario == push {
		l.Goroutines = c.goroutines
	} else {
		l.Workers = c.library.workers
	}
	return l
}

// medianOf returns the medians of the lines of one combination, and the jobs
// lost and repeated in all of them.
func medianOf(lines []line) line {
	of := func(figure func(line) float64) (low, middle, high float64) {
		var all []float64
		for _, l := range lines {
			all = append(all, figure(l))
		}
		slices.Sort(all)
		n := len(all)
		return all[0], math.Round((all[(n-1)/2] + all[n/2]) / 2), all[n-1]
	}
	m := lines[0]
	m.Median, m.Lost, m.Repeated = true, 0, 0
	for _, l := range lines {
		m.Lost += l.Lost
		m.Repeated += l.Repeated
	}
	m.low, m.JobsPerS, m.high = of(func(l line) float64 { return l.JobsPerS })
	_, m.P50, _ = of(func(l line) float64 { return l.P50 })
	_, m.P95, _ = of(func(l line) float64 { return l.P95 })
	_, m.P99, _ = of(func(l line) float64 { return l.P99 })
	_, _, m.Max = of(func(l line) float64 { return l.Max })
	_, jobs, _ := of(func(l line) float64 { return float64(l.Jobs) })
	m.Jobs = int(jobs)
	return m
}

func writeJSON(w io.Writer, l line) error { return json.NewEncoder(w).Encode(l) }
