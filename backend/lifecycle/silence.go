package lifecycle

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Silence is what a store keeps of a worker that did not renew its row in time: who observed that,
// and for how long. So workers that live for less than a third of a lease detect a death together.
// The zero value means none.
type Silence struct {
	Seen    time.Time     // the worker's last renewal; a later one ends the silence
	At      time.Time     // when the worker was last observed to be silent
	By      int64         // the worker that observed it; see [backend.ReapRequest].By
	Watched time.Duration // the part of the silence that counts
}

// Judge returns what is kept of a silence after a Reap with req, and whether the worker is dead. s
// is what was kept so far, seen the last renewal of the worker, whose lease has ended, and now the
// store's clock.
//
// The worker is dead if the caller may judge alone, or if its silence was watched for a third of its
// lease. The time since the last observation counts if it is less than a third of the lease, and for
// a sixth of the lease otherwise, because the system may have stood still or its clock have jumped.
// The time since the caller's own last observation counts as far as the caller was stable in it.
func (s Silence) Judge(req backend.ReapRequest, seen time.Time, lease time.Duration, now time.Time) (kept Silence, dead bool) {
	enough := lease / 3
	stable := time.Duration(0) // for how long the caller was stable
	if req.Expired && (req.StoreTime.IsZero() || now.Sub(req.StoreTime).Abs() <= enough) {
		stable = req.StableFor
		if stable == 0 {
			stable = enough // always
		}
	}
	switch {
	case stable > 0 && stable >= enough:
		return s, true
	case req.By == 0:
		return s, false
	case !s.Seen.Equal(seen):
		return Silence{Seen: seen, At: now, By: req.By}, false
	}
	since := max(0, now.Sub(s.At))
	switch {
	case s.By == req.By:
		since = min(since, stable)
	case since >= enough:
		since = lease / 6
	}
	s.At, s.By, s.Watched = now, req.By, s.Watched+since
	return s, s.Watched >= enough
}
