// Command chart draws figures of cmd/bench/peers as an SVG picture: one panel per
// question, each with its own scale.
//
//	go run ./cmd/bench/peers -json >figures
//	go run ./cmd/bench/chart <figures >picture.svg
//
// It uses the medians of pushes with durability normal, which all libraries offer.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"strconv"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/bars"
)

// A figure is one line of peers -json.
type figure struct {
	Library    string  `json:"library"`
	Version    string  `json:"version"`
	Driver     string  `json:"driver"`
	Store      string  `json:"store"`
	Scenario   string  `json:"scenario"`
	Goroutines int     `json:"goroutines"`
	JobsPerS   float64 `json:"jobs_per_s"`
	P50        float64 `json:"p50_us"`
	Durability string  `json:"durability"`
	Median     bool    `json:"median"`
}

var (
	own  = color.RGBA{0x50, 0xfa, 0x7b, 0xff}
	peer = color.RGBA{0x7d, 0x8c, 0xc4, 0xff}
)

// A question selects the figures of a panel.
type question struct {
	title, unit string
	asks        func(figure) bool
	value       func(figure) (value float64, text string)
}

var questions = []question{
	{
		"Drain, SQLite", "jobs per second, empty handler",
		func(f figure) bool { return f.Scenario == "drain" && f.Store == "SQLite" }, perSecond,
	},
	{
		"Push, SQLite", "jobs per second, 128 goroutines",
		func(f figure) bool { return f.Scenario == "push" && f.Goroutines == 128 && f.Store == "SQLite" }, perSecond,
	},
	{
		"Latency, SQLite", "median, push to handler; less is better",
		func(f figure) bool { return f.Scenario == "live" && f.Store == "SQLite" }, milliseconds,
	},
	{
		"Drain, PostgreSQL", "jobs per second, empty handler",
		func(f figure) bool { return f.Scenario == "drain" && f.Store == "PostgreSQL" }, perSecond,
	},
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// run reads figures and writes a picture.
func run(in io.Reader, out io.Writer) error {
	figures, err := read(in)
	if err != nil {
		return err
	}
	var panels []bars.Panel
	for _, q := range questions {
		p := bars.Panel{Title: q.title, Unit: q.unit}
		for _, f := range figures {
			if f.Median && f.Durability == "normal" && q.asks(f) {
				p.Bars = append(p.Bars, bar(q, f))
			}
		}
		if len(p.Bars) > 0 {
			panels = append(panels, p)
		}
	}
	if len(panels) == 0 {
		return errors.New("the input has no medians at durability normal: give it the output of cmd/bench/peers -json")
	}
	return bars.WriteSVG(out, 2, panels)
}

func read(in io.Reader) (figures []figure, err error) {
	for dec := json.NewDecoder(in); ; {
		var f figure
		switch err := dec.Decode(&f); {
		case errors.Is(err, io.EOF):
			return figures, nil
		case err != nil:
			return nil, fmt.Errorf("read figures: %w", err)
		}
		figures = append(figures, f)
	}
}

func bar(q question, f figure) bars.Bar {
	name := f.Library
	if name == "river" {
		name = "River"
	}
	b := bars.Bar{Label: name + ", " + f.Driver, Color: peer}
	if f.Library == "plainjobs" {
		b.Color = own
	}
	b.Value, b.Text = q.value(f)
	return b
}

func perSecond(f figure) (float64, string) { return f.JobsPerS, bars.Number(f.JobsPerS) }

func milliseconds(f figure) (float64, string) {
	ms := f.P50 / 1000
	return ms, strconv.FormatFloat(ms, 'f', -1, 64) + " ms"
}
