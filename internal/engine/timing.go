package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/internal/cron"
)

// A Timing is when a schedule ticks.
type Timing struct {
	Spec string // for people: a cron expression, or "every 5m0s"
	Zone string // of the wall clock, "" is UTC
	// Every is the interval, or zero.
	Every time.Duration
	// Expression is the cron expression, or nil.
	Expression *cron.Expression
}

const every = "every "

// EveryTiming returns the timing of ticks that are an interval apart.
func EveryTiming(interval time.Duration) (Timing, error) {
	if interval < time.Millisecond || interval > 366*24*time.Hour {
		return Timing{}, fmt.Errorf("every %v is not within 1ms and 366 days", interval)
	}
	return Timing{Spec: every + interval.String(), Every: interval}, nil
}

// CronTiming returns the timing of a cron expression, or of "@every" and an interval.
func CronTiming(expression string) (Timing, error) {
	if text, ok := strings.CutPrefix(expression, "@"+every); ok {
		interval, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil {
			return Timing{}, fmt.Errorf("expression %q: %w", expression, err)
		}
		return EveryTiming(interval)
	}
	e, err := cron.Parse(expression)
	if err != nil {
		return Timing{}, err
	}
	return Timing{Spec: e.String(), Expression: e}, nil
}

// TimingOf returns the timing in a stored definition, see [Schedule.Definition], and the
// name of its job. It returns false if this program cannot read the definition.
func TimingOf(definition string) (t Timing, job string, ok bool) {
	part := strings.Split(definition, "|")
	if len(part) < 4 {
		return Timing{}, "", false
	}
	t = Timing{Spec: part[1], Zone: part[2]}
	if text, found := strings.CutPrefix(t.Spec, every); found {
		interval, err := time.ParseDuration(text)
		t.Every = interval
		return t, part[0], err == nil && interval > 0
	}
	e, err := cron.Parse(t.Spec)
	t.Expression = e
	return t, part[0], err == nil
}

// Same reports whether two timings have the same text.
func (t Timing) Same(other Timing) bool { return t.Spec == other.Spec && t.Zone == other.Zone }

// locations has each zone that was loaded, by name: loading one reads a file.
var locations sync.Map

// Location returns the time zone.
func (t Timing) Location() (*time.Location, error) {
	if zone, ok := locations.Load(t.Zone); ok {
		return zone.(*time.Location), nil
	}
	if t.Zone == "Local" {
		return nil, errors.New("the zone Local differs between machines: name a zone, such as Europe/Berlin")
	}
	zone, err := time.LoadLocation(t.Zone)
	if err != nil {
		return nil, fmt.Errorf("%w: on a system without a time zone database, import time/tzdata", err)
	}
	locations.Store(t.Zone, zone)
	return zone, nil
}

// Next returns the first tick after a time, and false if there is none.
func (t Timing) Next(after time.Time, zone *time.Location) (time.Time, bool) {
	if t.Every > 0 {
		return after.Add(t.Every), true
	}
	return t.Expression.Next(after, zone)
}

// Repeats is how far a clock must be set back for a schedule to repeat ticks at fixed
// times. A smaller change counts as a correction, as in cron(8).
const Repeats = 3 * time.Hour

// Ahead reports whether next, the stored tick to come, comes from before the clock was
// set back so far that the schedule is to continue from now. A schedule of elapsed time
// does so when it would otherwise stand still for more than a tick; ticks at fixed times
// repeat only if the clock went back by Repeats.
func (t Timing) Ahead(next, now time.Time, zone *time.Location) bool {
	first, ok := t.Next(now, zone)
	if !ok || !first.Before(next) {
		return false
	}
	if t.Every > 0 {
		return next.Sub(first) > ClockSlack
	}
	if far, ok := t.Next(now.Add(Repeats), zone); ok && far.Before(next) {
		return true
	}
	second, ok := t.Next(first, zone)
	return t.Expression.Elapsed() && ok && second.Before(next)
}

// ClockSlack is the change of a clock that is ignored.
const ClockSlack = 250 * time.Millisecond
