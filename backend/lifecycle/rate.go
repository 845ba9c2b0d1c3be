package lifecycle

import (
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A Rate is the bound of a name's [backend.Settings] on its claims.
type Rate struct {
	Jobs int   // zero is no bound
	Per  int64 // in microseconds
}

// RateOf returns the rate of s.
func RateOf(s backend.Settings) Rate { return Rate{s.Rate, max(s.Per.Microseconds(), 1)} }

// A Slot is what a store keeps of claims, by name, for a rate: some that were
// close to each other.
type Slot struct {
	// At is not before the last of them, and less than a hundredth of the
	// rate's span, or a microsecond, after the first. They count until the
	// span has passed since.
	At   int64
	Jobs int
}

// Slot returns the At of the slot in which claims at now are counted. All of a
// hundredth of the span have the same one.
func (r Rate) Slot(now int64) int64 { return (now/r.width() + 1) * r.width() }

// width is the span of a slot.
func (r Rate) width() int64 { return max(r.Per/100, 1) }

// Since returns the At at and below which slots do not count any more, and may be
// deleted.
func (r Rate) Since(now int64) int64 { return now - r.Per }

// Ahead returns the greatest At that a claim may have had by now.
func (r Rate) Ahead(now int64) int64 { return now + r.width() }

// Left returns how many more jobs may be claimed after those of slots, which are
// in the order of At. Claims in the future were counted before the clock went
// back: ahead is how many they are, in slots above Ahead(now). Claim must move
// them into Slot(now), as if they were claimed now.
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

// Free returns when the rate allows one more claim after those of slots, which
// are in the order of At, or zero if it does now.
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
			return min(s.At, r.Ahead(now)) + r.Per // the clock may have gone back
		}
	}
	return 0
}
