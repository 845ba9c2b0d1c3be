package memory

import (
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// allows returns how many jobs of the name may be claimed now.
func (n *name) allows(now int64) int {
	left := math.MaxInt
	if n.settings.MaxRunning > 0 {
		left = n.settings.MaxRunning - int(n.counts[backend.Running])
	}
	if n.settings.Rate > 0 {
		left = min(left, n.rate.left(lifecycle.RateOf(n.settings), now))
	}
	return max(left, 0)
}

// A window holds the claims that count against the rate, by slot.
type window []lifecycle.Slot

// add records a claim if there is a rate.
func (w *window) add(r lifecycle.Rate, now int64) {
	if r.Jobs == 0 {
		return
	}
	if last := len(*w) - 1; last >= 0 && r.Slot((*w)[last].At) == r.Slot(now) {
		(*w)[last].At = now
		(*w)[last].Jobs++
		return
	}
	*w = append(*w, lifecycle.Slot{At: now, Jobs: 1})
}

// left returns how many more claims the rate allows now.
func (w *window) left(r lifecycle.Rate, now int64) int {
	for len(*w) > 0 && (*w)[0].At <= r.Since(now) {
		*w = slices.Delete(*w, 0, 1)
	}
	left, _ := r.Left(w.at(now), now)
	return left
}

// free returns when the rate allows the next claim; zero is now.
func (w *window) free(r lifecycle.Rate, now int64) int64 { return r.Free(w.at(now), now) }

// at returns the window without times in the future: the clock may have gone back.
func (w *window) at(now int64) window {
	for i := range *w {
		s := &(*w)[i]
		s.At = min(s.At, now)
	}
	return *w
}
