package cron

import "time"

// A Tick is an instant at which an expression fires.
type Tick struct {
	At time.Time

	// Skipped reports whether the local time of the expression does not exist. The
	// expression then fires at the transition.
	Skipped bool

	// Doubled reports whether the same local time occurs again, and the expression
	// does not fire then.
	Doubled bool
}

// Preview returns the next n ticks after an instant, in loc, by the rules of
// [Expression.Next]. It returns fewer if there are no more.
func (e *Expression) Preview(after time.Time, loc *time.Location, n int) []Tick {
	var ticks []Tick
	for len(ticks) < n {
		f, ok := e.next(after, loc)
		if !ok {
			break
		}
		after = time.Unix(f.at, 0).In(loc)
		shown, _ := e.match(f.shown)
		skipped := shown != f.shown
		ticks = append(ticks, Tick{
			At:      after,
			Skipped: skipped,
			Doubled: !skipped && !e.elapsed && shownAgain(f, loc),
		})
	}
	return ticks
}

// shownAgain reports whether the local time of f occurs again in loc.
func shownAgain(f firing, loc *time.Location) bool {
	for t := f.at; t < f.at+maxTurn; {
		p := periodAt(t, loc)
		if t > f.at && f.shown >= p.wall(t) && f.shown < p.wall(p.end) {
			return true
		}
		t = p.end
	}
	return false
}
