package sqlite

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	selectRunning = `SELECT jobs FROM plainjobs_counts WHERE name = ? AND state = 4`
	selectStarts  = `SELECT slot, jobs FROM plainjobs_starts WHERE name = ? AND slot > ? ORDER BY slot`
	deleteAhead   = `DELETE FROM plainjobs_starts WHERE name = ? AND slot > ?`
	deleteStarts  = `DELETE FROM plainjobs_starts WHERE name = ? AND slot <= ?`
	insertStart   = `
		INSERT INTO plainjobs_starts (name, slot, jobs) VALUES (?, ?, ?)
		ON CONFLICT (name, slot) DO UPDATE SET jobs = jobs + excluded.jobs`
)

// allowance returns how many jobs of a name may be claimed now.
func (t *tx) allowance(name int64, s setting, now int64) (int, error) {
	allowed := int64(math.MaxInt32)
	if s.maxRunning > 0 {
		running, err := t.counted(selectRunning, name, backend.Running)
		if err != nil {
			return 0, err
		}
		allowed = s.maxRunning - running
	}
	if s.rate > 0 {
		if _, err := t.exec(deleteStarts, name, now-s.per); err != nil {
			return 0, err
		}
		started, ahead := int64(0), int64(0)
		err := t.each(selectStarts, []any{name, now - s.per}, func(r *sql.Rows) (bool, error) {
			var slot, jobs int64
			err := r.Scan(&slot, &jobs)
			if started += jobs; slot > now+s.width() {
				ahead += jobs
			}
			return true, err
		})
		if err != nil {
			return 0, err
		}
		if ahead > 0 { // the clock was set back: these count as claimed now
			if _, err := t.exec(deleteAhead, name, now+s.width()); err != nil {
				return 0, err
			}
			if err := t.start(name, s, now, ahead); err != nil {
				return 0, err
			}
		}
		allowed = min(allowed, s.rate-started)
	}
	return int(max(allowed, 0)), nil
}

// start records that jobs of a name with a rate were claimed. It rounds the time up,
// so that no window has more claims than the rate.
func (t *tx) start(name int64, s setting, now, jobs int64) error {
	if s.rate == 0 {
		return nil
	}
	_, err := t.exec(insertStart, name, (now/s.width()+1)*s.width(), jobs)
	return err
}

// width is the length of a slot: a hundredth of the rate's window.
func (s setting) width() int64 { return max(s.per/100, 1) }

// free returns when the rate allows one more claim, or 0 if it does now. Starts are
// pairs of a slot and a number of jobs, within the rate's window.
func (s setting) free(starts [][2]int64) int64 {
	if s.rate == 0 {
		return 0
	}
	sum := int64(0)
	for _, slot := range slices.Backward(starts) {
		if sum += slot[1]; sum >= s.rate {
			return slot[0] + s.per
		}
	}
	return 0
}

// freeAt returns when a name's rate allows one more claim, or 0 if it does now.
func (b *Backend) freeAt(ctx context.Context, q source, name int64, s setting) (int64, error) {
	if s.rate == 0 {
		return 0, nil
	}
	now := b.now()
	var starts [][2]int64
	err := scan(ctx, q, b.sql(selectStarts), []any{name, now - s.per}, func(r *sql.Rows) error {
		var slot [2]int64
		err := r.Scan(&slot[0], &slot[1])
		slot[0] = min(slot[0], now+s.width()) // the clock may have been set back
		starts = append(starts, slot)
		return err
	})
	return s.free(starts), err
}
