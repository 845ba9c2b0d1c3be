package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/internal/cron"
)

// A Timing says when a schedule ticks.
type Timing struct {
	Spec string // for people: a cron expression, or "every 5m0s"
	Zone string // of the wall clock, "" is UTC
	// Every is the distance of ticks that have no wall clock, or zero.
	Every time.Duration
	// Expression names the times on a wall clock, or is nil.
	Expression *cron.Expression
}

const every = "every "

// EveryTiming is the timing of ticks that are an interval apart.
func EveryTiming(interval time.Duration) Timing {
	return Timing{Spec: every + interval.String(), Every: interval}
}

// CronTiming is the timing of a cron expression.
func CronTiming(expression string) (Timing, error) {
	e, err := cron.Parse(expression)
	if err != nil {
		return Timing{}, err
	}
	return Timing{Spec: e.String(), Expression: e}, nil
}

// TimingOf returns the timing that a stored definition has, see
// [Schedule.Definition], and the name of its job; false if this program cannot
// read it.
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

// Same reports whether two timings are written alike.
func (t Timing) Same(other Timing) bool { return t.Spec == other.Spec && t.Zone == other.Zone }

// Location returns the zone.
func (t Timing) Location() (*time.Location, error) {
	if t.Zone == "Local" {
		return nil, errors.New("the zone Local is another one on each machine; name one")
	}
	zone, err := time.LoadLocation(t.Zone)
	if err != nil {
		return nil, fmt.Errorf("%w; a program that runs where there is no time zone database imports time/tzdata", err)
	}
	return zone, nil
}

// Next returns the first tick after a time, false if there is none.
func (t Timing) Next(after time.Time, zone *time.Location) (time.Time, bool) {
	if t.Every > 0 {
		return after.Add(t.Every), true
	}
	return t.Expression.Next(after, zone)
}

// Repeats is how far a clock must be set back for a schedule to start over with
// ticks at fixed times that it has had. It is what cron(8) takes for a correction
// of the clock rather than another time.
const Repeats = 3 * time.Hour

// Ahead reports whether next, the stored tick to come, was found by a clock that
// has been set back since, so far that the schedule is to go on from now. What
// follows elapsed time goes on once it would stand still for more than a tick;
// ticks at fixed times are only repeated when the clock went back by Repeats.
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

// ClockSlack is what a clock may be moved by unnoticed.
const ClockSlack = 250 * time.Millisecond
