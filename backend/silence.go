package backend

import "time"

// A Silence is what a store keeps of a worker that did not renew its row in
// time: who has seen that, and for how long. So workers that live for less than
// a third of a lease find out together what one that lives longer finds out
// alone. The zero value is none.
type Silence struct {
	// Seen is the renewal that was the worker's last. After another one the
	// silence is over, and what was kept of it counts no more.
	Seen time.Time
	// At is when the worker was last seen to be silent, and By the worker
	// that saw it, see [ReapRequest.By].
	At time.Time
	By int64
	// Watched is the part of the silence that counts.
	Watched time.Duration
}

// Judge returns what is kept of a silence after a Reap with req, and whether
// the worker is dead. s is what was kept so far, seen the last renewal of the
// worker, whose lease has ended, and now the store's clock.
//
// The worker is dead if the caller may judge it by itself, or if its silence
// was watched for a third of its lease. The time since the last look counts if
// it is less than a third of the lease. A longer time counts for a sixth of
// the lease only, as the system may have stood still in it, or its clock have
// jumped. Time since the caller's own last look counts as far as the caller
// was steady in it.
func (s Silence) Judge(req ReapRequest, seen time.Time, lease time.Duration, now time.Time) (kept Silence, dead bool) {
	enough := lease / 3
	steady := time.Duration(0) // for how long the caller was
	if req.Expired && (req.StoreTime.IsZero() || now.Sub(req.StoreTime).Abs() <= enough) {
		steady = req.StableFor
		if steady == 0 {
			steady = enough // for ever
		}
	}
	switch {
	case steady > 0 && steady >= enough:
		return s, true
	case req.By == 0:
		return s, false
	case !s.Seen.Equal(seen):
		return Silence{Seen: seen, At: now, By: req.By}, false
	}
	since := max(0, now.Sub(s.At))
	switch {
	case s.By == req.By:
		since = min(since, steady)
	case since >= enough:
		since = lease / 6
	}
	s.At, s.By, s.Watched = now, req.By, s.Watched+since
	return s, s.Watched >= enough
}
