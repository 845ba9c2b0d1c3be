package lifecycle

import (
	"cmp"
	"maps"
	"math"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Definer is a worker with a row that has called Set; see [backend.SettingsStore].
type Definer struct {
	Knows    map[string]bool             // the names of its jobs
	Settings map[string]backend.Settings // those that are not zero, by name, with their names
}

// NewDefiner returns the definer of a worker with these jobs and settings.
func NewDefiner(jobs []string, settings []backend.Settings) Definer {
	d := Definer{make(map[string]bool, len(jobs)), map[string]backend.Settings{}}
	for _, name := range jobs {
		d.Knows[name] = true
	}
	for _, s := range settings {
		d.Knows[s.Name] = true
		if d.Settings[s.Name] = s; s == (backend.Settings{Name: s.Name}) {
			delete(d.Settings, s.Name)
		}
	}
	return d
}

// Defined returns what the definers define for a name, as [Strictest] returns it, and whether one of
// them knows the name. h is the history of the store.
func Defined(name string, all []Definer, h backend.History) (s backend.Settings, differ, known bool) {
	var settings []backend.Settings
	for _, d := range all {
		if d.Knows[name] {
			own := d.Settings[name]
			own.Name = name
			settings = append(settings, own)
		}
	}
	if len(settings) == 0 {
		return s, false, false
	}
	s, differ = Strictest(settings, h)
	return s, differ, true
}

// Strictest returns the settings that apply if workers define all of these for a name, and whether
// they differ: the fewest running jobs; the rate with the fewest runs per time, and of equal ones that
// with the shorter period, which includes the other; the fewest crashes. Of the history it returns the
// longest retention, the most rows and the most bytes, and it drops only payloads that all drop, because a deletion
// cannot be taken back. h is the history of the store, which zeros stand for.
func Strictest(all []backend.Settings, h backend.History) (s backend.Settings, differ bool) {
	s = all[0]
	for _, o := range all[1:] {
		differ = differ || o != all[0]
		if o.MaxRunning > 0 && (s.MaxRunning == 0 || o.MaxRunning < s.MaxRunning) {
			s.MaxRunning = o.MaxRunning
		}
		if stricterRate(o, s) {
			s.Rate, s.Per = o.Rate, o.Per
		}
		if crashes(o.MaxCrashes) < crashes(s.MaxCrashes) {
			s.MaxCrashes = o.MaxCrashes
		}
		s.History.Done = longer(s.History.Done, o.History.Done, h.Done)
		s.History.Failed = longer(s.History.Failed, o.History.Failed, h.Failed)
		if rows(o.History.Rows, h.Rows) > rows(s.History.Rows, h.Rows) {
			s.History.Rows = o.History.Rows
		}
		if size(o.History.Bytes, h.Bytes) > size(s.History.Bytes, h.Bytes) {
			s.History.Bytes = o.History.Bytes
		}
		s.History.DropDone = s.History.DropDone && o.History.DropDone
		s.History.DropFailed = s.History.DropFailed && o.History.DropFailed
	}
	return s, differ
}

// stricterRate reports whether a has the stricter rate.
func stricterRate(a, b backend.Settings) bool {
	switch {
	case a.Rate == 0:
		return false
	case b.Rate == 0:
		return true
	}
	return cmp.Or(cmp.Compare(float64(a.Rate)/float64(a.Per), float64(b.Rate)/float64(b.Per)), cmp.Compare(a.Per, b.Per)) < 0
}

// crashes returns the number of crashes that fail a job with the setting n.
func crashes(n int) int {
	if n < 0 {
		return math.MaxInt
	}
	return cmp.Or(n, backend.DefaultMaxCrashes)
}

// longer returns the longer of two retentions. Zeros stand for those of the store.
func longer(a, b, store time.Duration) time.Duration {
	if max(0, cmp.Or(b, store)) > max(0, cmp.Or(a, store)) {
		return b
	}
	return a
}

// rows returns the number of rows that a history with Rows n keeps. Zero stands for that of the store.
func rows(n, store int) int {
	if n = cmp.Or(n, store); n < 0 {
		return math.MaxInt
	}
	return n
}

// size returns the number of bytes that a history with Bytes n keeps. Zero stands for that of the store.
func size(n, store int64) int64 {
	if n = cmp.Or(n, store); n <= 0 {
		return math.MaxInt64
	}
	return n
}

// Overridden returns the settings that apply if o overrides s.
func Overridden(s backend.Settings, o backend.Override) backend.Settings {
	if o.MaxRunning != 0 {
		s.MaxRunning = max(0, o.MaxRunning)
	}
	if o.Rate != 0 {
		s.Rate, s.Per = max(0, o.Rate), o.Per
	}
	s.History = override(o.History, s.History)
	s.MaxCrashes = cmp.Or(o.MaxCrashes, s.MaxCrashes)
	return s
}

// ChangeOverride returns the override of a name after a change at now; see
// [backend.SettingsStore].Override. Without a field it is the zero Override.
func ChangeOverride(old, change backend.Override, reset bool, now time.Time) backend.Override {
	if change.At.IsZero() {
		change.At = now
	}
	if !reset {
		change.MaxRunning = cmp.Or(change.MaxRunning, old.MaxRunning)
		if change.Rate == 0 {
			change.Rate, change.Per = old.Rate, old.Per
		}
		change.History = override(change.History, old.History)
		change.MaxCrashes = cmp.Or(change.MaxCrashes, old.MaxCrashes)
		change.Concurrency = cmp.Or(change.Concurrency, old.Concurrency)
	}
	weights := map[string]int{}
	if !reset {
		maps.Copy(weights, old.Weights)
	}
	maps.Copy(weights, change.Weights)
	maps.DeleteFunc(weights, func(_ string, weight int) bool { return weight == 1 })
	if change.Weights = weights; len(weights) == 0 {
		change.Weights = nil
	}
	if change.Zero() {
		return backend.Override{}
	}
	return change
}
