package cron

import "time"

// A Tick is an instant at which an expression fires.
type Tick struct {
	At time.Time

	// Skipped is set if the clock shows something else than the expression
	// names: it fires at a transition for a time that was skipped.
	Skipped bool

	// Doubled is set if the clock will show the same time again and the
	// expression will not fire then.
	Doubled bool
}

// Preview returns the first n ticks after the given instant, in loc, by the rules
// of [Expression.Next]. There are fewer if it finds no more.
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

// shownAgain reports whether the clock in loc shows the time of f once more.
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
