package main

import (
	"encoding/json"
	"io"
	"math"
)

// A line is a run, or the median of a combination's runs, as -json prints it.
type line struct {
	Scenario   string  `json:"scenario"`
	Driver     string  `json:"driver"`
	Workers    int     `json:"workers"`
	Processes  int     `json:"processes"`
	Jobs       int     `json:"jobs"`
	JobsPerS   float64 `json:"jobs_per_s"`
	Lost       int     `json:"lost"`
	Repeated   int     `json:"repeated"`
	Durability string  `json:"durability"`
	Median     bool    `json:"median,omitempty"`
}

func (r result) line() line {
	return line{
		Scenario:   r.scenario.Name,
		Driver:     r.driver.name,
		Workers:    r.workers,
		Processes:  1,
		Jobs:       r.Jobs,
		JobsPerS:   math.Round(r.jobsPerS()),
		Lost:       r.Lost,
		Repeated:   r.Repeated,
		Durability: r.Durability,
	}
}

// line has the jobs of one run, and those lost and repeated in all of them.
func (s summary) line() line {
	return line{
		Scenario:   s.scenario.Name,
		Driver:     s.driver.name,
		Workers:    s.workers,
		Processes:  1,
		Jobs:       s.jobs,
		JobsPerS:   math.Round(s.median),
		Lost:       s.lost,
		Repeated:   s.repeated,
		Durability: s.durability,
		Median:     true,
	}
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
