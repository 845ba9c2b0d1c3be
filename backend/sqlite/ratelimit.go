package sqlite

import (
	"context"
	"database/sql"
	"math"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectRunning = `SELECT jobs FROM plainjobs_job_count WHERE name = ? AND state = 4`
	selectStarts  = `SELECT slot, jobs FROM plainjobs_rate_count WHERE name = ? AND slot > ? ORDER BY slot`
	deleteAhead   = `DELETE FROM plainjobs_rate_count WHERE name = ? AND slot > ?`
	deleteStarts  = `DELETE FROM plainjobs_rate_count WHERE name = ? AND slot <= ?`
	insertStart   = `
		INSERT INTO plainjobs_rate_count (name, slot, jobs) VALUES (?, ?, ?)
		ON CONFLICT (name, slot) DO UPDATE SET jobs = jobs + excluded.jobs`
)

// allowance returns how many jobs of a name may be claimed now.
func (t *tx) allowance(name int64, s setting, now int64) (int, error) {
	allowed := math.MaxInt32
	if s.MaxRunning > 0 {
		running, err := t.counted(selectRunning, name, backend.Running)
		if err != nil {
			return 0, err
		}
		allowed = s.MaxRunning - int(running)
	}
	if s.Rate > 0 {
		rate := lifecycle.RateOf(s.Settings)
		if _, err := t.exec(deleteStarts, name, rate.Since(now)); err != nil {
			return 0, err
		}
		var slots slots
		err := t.each(selectStarts, []any{name, rate.Since(now)}, func(r *sql.Rows) (bool, error) { return true, slots.scan(r) })
		if err != nil {
			return 0, err
		}
		left, ahead := rate.Left(slots, now)
		if ahead > 0 {
			if _, err := t.exec(deleteAhead, name, rate.Ahead(now)); err != nil {
				return 0, err
			}
			if err := t.start(name, s, now, int64(ahead)); err != nil {
				return 0, err
			}
		}
		allowed = min(allowed, left)
	}
	return max(allowed, 0), nil
}

// start records that jobs of a name were claimed, if it has a rate.
func (t *tx) start(name int64, s setting, now, jobs int64) error {
	if s.Rate == 0 {
		return nil
	}
	_, err := t.exec(insertStart, name, lifecycle.RateOf(s.Settings).Slot(now), jobs)
	return err
}

// slots are the claims of a name that its rate counts.
type slots []lifecycle.Slot

func (all *slots) scan(r *sql.Rows) error {
	var at, jobs int64
	err := r.Scan(&at, &jobs)
	*all = append(*all, lifecycle.Slot{At: at, Jobs: int(jobs)})
	return err
}

// freeAt returns when the rate of a name allows one more claim, or 0 if it does
// now.
func (b *Backend) freeAt(ctx context.Context, q source, name int64, s setting) (int64, error) {
	if s.Rate == 0 {
		return 0, nil
	}
	now, rate := b.now(), lifecycle.RateOf(s.Settings)
	var slots slots
	err := scan(ctx, q, b.sql(selectStarts), []any{name, rate.Since(now)}, slots.scan)
	return rate.Free(slots, now), err
}
