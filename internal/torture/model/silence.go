package model

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A silence is what observers have seen of a worker that does not renew its row.
type silence struct {
	seen    time.Time     // the renewal after which the silence began
	at      time.Time     // the last observation
	by      int64         // the last observer
	watched time.Duration // how much of the silence counts
}

// silent reports whether w, whose lease has ended, is dead, and stores what the caller
// observes.
func (w *worker) silent(req backend.ReapRequest, now time.Time) bool {
	third := w.Lease / 3
	drift := now.Sub(req.StoreTime).Abs()
	stalled := !req.Expired || !req.StoreTime.IsZero() && drift > third
	always := req.StableFor == 0
	if !stalled && (always && third > 0 || req.StableFor > 0 && req.StableFor >= third) {
		return true // the caller judges alone
	}
	if req.By == 0 {
		return false // the caller observes nothing
	}
	old := w.silence
	w.silence = silence{seen: w.seen, at: now, by: req.By}
	if !old.seen.Equal(w.seen) {
		return false // the silence is new
	}
	passed := max(now.Sub(old.at), 0)
	if old.by == req.By {
		// The caller vouches for the time in which it was stable, less than a third.
		trusted := time.Duration(0)
		if !stalled {
			trusted = req.StableFor
		}
		passed = min(passed, trusted)
	} else if passed >= third {
		passed = w.Lease / 6 // the system may have stood still
	}
	w.silence.watched = old.watched + passed
	return w.silence.watched >= third
}
