package engine

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// SettingsText returns the settings of a name in words, or "defaults".
func SettingsText(s backend.Settings) string { return OverrideText(backend.Override{Settings: s}) }

// OverrideText returns what an override changes in words, or "defaults".
func OverrideText(o backend.Override) string {
	var words []string
	add := func(set bool, format string, args ...any) {
		if set {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(o.MaxRunning > 0, "at most %d running", o.MaxRunning)
	add(o.MaxRunning < 0, "any number running")
	add(o.Rate > 0, "%d in %v", o.Rate, o.Per)
	add(o.Rate < 0, "no rate limit")
	add(o.Concurrency > 0, "at most %d in each worker", o.Concurrency)
	add(o.Concurrency < 0, "any number in each worker")
	add(o.History.Done > 0, "done jobs kept for %v", o.History.Done)
	add(o.History.Done < 0, "done jobs not kept")
	add(o.History.Failed > 0, "failed jobs kept for %v", o.History.Failed)
	add(o.History.Failed < 0, "failed jobs not kept")
	add(o.History.Rows > 0, "at most %d finished jobs", o.History.Rows)
	add(o.History.Rows < 0, "any number of finished jobs")
	add(o.MaxCrashes > 0, "failed after %d crashes", o.MaxCrashes)
	add(o.MaxCrashes < 0, "failed after no number of crashes")
	return cmp.Or(strings.Join(words, ", "), "defaults")
}
