package cron

import (
	"math"
	"time"
)

// maxTurn bounds clock changes. Offsets are within 26 hours of UTC, so no local time
// occurs again after twice that.
const maxTurn = 52 * 60 * 60

// Next returns the first instant after the given one at which e fires in loc, in
// UTC, and false if there is none in the next 40 years or before the year 10000.
// Before the year 1 nothing fires.
//
// The rules for clock changes are almost those of cron(8):
//
//   - An expression with a fixed hour fires once for each local time that it matches. A
//     time that does not exist fires at the transition; several such times fire once,
//     together. A time that occurs twice fires at its first occurrence. "30 2 * * *" runs
//     every day.
//   - An expression whose hour starts with a star follows elapsed time. It fires in both
//     passes of a repeated hour, and not for a skipped hour. "@hourly" and
//     "*/15 * * * *" thus keep their intervals.
func (e *Expression) Next(after time.Time, loc *time.Location) (time.Time, bool) {
	f, ok := e.next(after, loc)
	return time.Unix(f.at, 0).UTC(), ok
}

// A firing is an instant at which an expression fires, with its local time.
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

	// latest is the latest local time before now.
	latest := wall(math.MinInt64)
	for t := now - maxTurn; t < now; {
		p := periodAt(t, loc)
		t = min(p.end, now)
		latest = max(latest, p.wall(t-1))
	}
	named, ok := e.match(latest + 1)
	for ok && now < end {
		p := periodAt(now, loc)
		// Follow elapsed time from the current local time, also after a clock change.
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
	offset int64 // its offset from UTC, in seconds
}

func (p period) wall(t int64) wall    { return wall(t + p.offset) }
func (p period) instant(w wall) int64 { return int64(w) - p.offset }

// periodAt returns the rest of the period that contains t. The result may end before the
// next transition.
func periodAt(t int64, loc *time.Location) period {
	at := time.Unix(t, 0).In(loc)
	_, offset := at.Zone()
	// ZoneBounds may return a start that is too early, after the last transition on
	// record. So periodAt does not use it.
	_, bound := at.ZoneBounds()
	p := period{math.MaxInt64 / 2, int64(offset)} // so that adding to it cannot overflow
	if !bound.IsZero() {
		p.end = bound.Unix()
	}
	// There ZoneBounds also assumes years of 365 days: on the last day of a leap year the
	// period ends before it starts.
	if p.end <= t {
		p.end = at.Truncate(daySeconds*time.Second).Unix() + daySeconds
	}
	return p
}
