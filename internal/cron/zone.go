package cron

import (
	"math"
	"time"
)

// maxTurn bounds how far a clock is ever turned: offsets lie within 26 hours of
// UTC, so that no wall time comes again after twice that.
const maxTurn = 52 * 60 * 60

// Next returns the first instant after the given one at which e fires in loc, in
// UTC, and false if there is none in the next 40 years or before the year 10000.
// Before the year 1 nothing fires.
//
// Where clocks are turned, nearly the rules hold that people know from cron(8):
//
//   - An expression whose hour is fixed fires once for each time that it names, when the clock on the wall first shows it or has passed it. A time
//     that does not exist thus fires at the transition, several of them fire once
//     together, and a time that occurs twice fires at the first. "30 2 * * *" runs
//     every day.
//   - An expression whose hour starts with a star follows elapsed time.
//     It fires whenever the clock shows what it names: in both passes of an hour
//     that is repeated, and not for an hour that is skipped. "@hourly" and
//     "*/15 * * * *" thus keep their intervals.
func (e *Expression) Next(after time.Time, loc *time.Location) (time.Time, bool) {
	f, ok := e.next(after, loc)
	return time.Unix(f.at, 0).UTC(), ok
}

// A firing is an instant at which an expression fires, and what the clock on the
// wall shows then.
type firing struct {
	at    int64
	shown wall
}

var (
	firstInstant = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	endOfTime    = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
)

func (e *Expression) next(after time.Time, loc *time.Location) (firing, bool) {
	if after.Unix() >= endOfTime {
		return firing{}, false
	}
	now := max(after.Unix()+1, firstInstant)
	end := min(now+(searchYears+1)*366*daySeconds, endOfTime)

	// latest is the latest time that the wall has shown before now.
	latest := wall(math.MinInt64)
	for t := now - maxTurn; t < now; {
		p := periodAt(t, loc)
		t = min(p.end, now)
		latest = max(latest, p.wall(t-1))
	}
	named, ok := e.match(latest + 1)
	for ok && now < end {
		p := periodAt(now, loc)
		// Elapsed time is followed from what the clock shows, also if it was turned
		// back or has skipped what was named.
		if from := p.wall(now); e.elapsed && (from <= latest || from > named) {
			named, ok = e.match(from)
		}
		if at := max(p.instant(named), now); ok && at < min(p.end, end) {
			return firing{at, p.wall(at)}, true
		}
		now, latest = p.end, p.wall(p.end-1)
	}
	return firing{}, false
}

// A period is a time without transitions.
type period struct {
	end    int64 // the first instant after it
	offset int64 // what its clock is ahead of UTC
}

func (p period) wall(t int64) wall    { return wall(t + p.offset) }
func (p period) instant(w wall) int64 { return int64(w) - p.offset }

// periodAt returns the rest of the period that t is in. It may end it early,
// where nothing changes.
func periodAt(t int64, loc *time.Location) period {
	at := time.Unix(t, 0).In(loc)
	_, offset := at.Zone()
	// The start is not asked for: after the last transition on record,
	// ZoneBounds may return one that is too early.
	_, bound := at.ZoneBounds()
	p := period{math.MaxInt64 / 2, int64(offset)} // so that adding to it cannot overflow
	if !bound.IsZero() {
		p.end = bound.Unix()
	}
	// There it also takes each year to have 365 days, so that on the last day
	// of a leap year the period is over before it began.
	if p.end <= t {
		p.end = at.Truncate(daySeconds*time.Second).Unix() + daySeconds
	}
	return p
}
