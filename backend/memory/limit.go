package memory

import (
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// allows returns how many jobs of the name may be claimed now.
func (n *name) allows(now int64) int {
	left := math.MaxInt
	if n.settings.MaxRunning > 0 {
		left = n.settings.MaxRunning - int(n.counts[backend.Running])
	}
	if n.settings.Rate > 0 {
		left = min(left, n.settings.Rate-n.rate.used(&n.settings, now))
	}
	return max(left, 0)
}

// A window holds the claims of the last while, oldest first, those that are
// close to each other together.
type window []claims

type claims struct {
	first, last int64
	n           int
}

// add notes a claim, for s's rate if it has one.
func (w *window) add(s *backend.Settings, now int64) {
	if s.Rate == 0 {
		return
	}
	if last := len(*w) - 1; last >= 0 && now-(*w)[last].first < s.Per.Microseconds()/100 {
		(*w)[last].last = now
		(*w)[last].n++
		return
	}
	*w = append(*w, claims{now, now, 1})
}

// used returns how many claims count against s's rate.
func (w *window) used(s *backend.Settings, now int64) int {
	n := 0
	for i := range *w {
		c := &(*w)[i]
		// The clock may have gone back since.
		c.first, c.last = min(c.first, now), min(c.last, now)
		n += c.n
	}
	for len(*w) > 0 && (*w)[0].last+s.Per.Microseconds() <= now {
		n -= (*w)[0].n
		*w = slices.Delete(*w, 0, 1)
	}
	return n
}

// free returns when s's rate allows the next claim, or zero if it does now.
func (w *window) free(s *backend.Settings, now int64) int64 {
	if s.Rate == 0 {
		return 0
	}
	used := w.used(s, now)
	if used < s.Rate {
		return 0
	}
	for _, c := range *w {
		if used -= c.n; used < s.Rate {
			return c.last + s.Per.Microseconds()
		}
	}
	return 0
}
