package lifecycle

import (
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A Rate limits the claims of a name: the Rate and Per of [backend.Settings].
type Rate struct {
	Jobs int   // zero means no limit
	Per  int64 // in microseconds
}

// RateOf returns the rate of s.
func RateOf(s backend.Settings) Rate { return Rate{s.Rate, max(s.Per.Microseconds(), 1)} }

// A Slot counts claims of one name that were close to each other in time. A store keeps
// the slots of each name with a rate.
type Slot struct {
	// At is not before the last of the claims, and at most a hundredth of Per (or a
	// microsecond) after the first. The claims count until Per has passed since At.
	At   int64
	Jobs int
}

// Slot returns the At of the slot that counts claims at now. Claims within the same
// hundredth of Per share a slot. Its At is after now, so that no period of Per has more
// claims than the rate.
func (r Rate) Slot(now int64) int64 { return (now/r.width() + 1) * r.width() }

// width is the length of a slot.
func (r Rate) width() int64 { return max(r.Per/100, 1) }

// Since returns an instant. Slots whose At is at or before it no longer count, and the
// store may delete them.
func (r Rate) Since(now int64) int64 { return now - r.Per }

// Ahead returns the greatest At that a slot can have, unless the clock was set back.
func (r Rate) Ahead(now int64) int64 { return now + r.width() }

// Left returns how many more jobs may be claimed now. slots are ordered by At. ahead is
// the number of claims in slots after Ahead(now), which date from before the clock was
// set back. A claim must move them to Slot(now): they count as claimed now.
func (r Rate) Left(slots []Slot, now int64) (left, ahead int) {
	if r.Jobs == 0 {
		return math.MaxInt, 0
	}
	left = r.Jobs
	for _, s := range slots {
		if s.At <= r.Since(now) {
			continue
		}
		left -= s.Jobs
		if s.At > r.Ahead(now) {
			ahead += s.Jobs
		}
	}
	return max(left, 0), ahead
}

// Free returns when the rate allows the next claim, or zero if it does now. slots are
// ordered by At.
func (r Rate) Free(slots []Slot, now int64) int64 {
	if r.Jobs == 0 {
		return 0
	}
	sum := 0
	for _, s := range slices.Backward(slots) {
		if s.At <= r.Since(now) {
			break
		}
		if sum += s.Jobs; sum >= r.Jobs {
			return min(s.At, r.Ahead(now)) + r.Per // the clock may have been set back
		}
	}
	return 0
}
