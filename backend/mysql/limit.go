package mysql

import (
	"context"
	"database/sql"
	"math"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectSlots = `SELECT name, slot, jobs FROM plainjobs_rate_count ORDER BY name, slot`
	deleteAhead = `DELETE FROM plainjobs_rate_count WHERE name = ? AND slot > ?`
	deleteSlots = `DELETE FROM plainjobs_rate_count WHERE name = ? AND slot <= ?`
	insertSlot  = `
		INSERT INTO plainjobs_rate_count (name, slot, jobs) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE jobs = jobs + VALUES(jobs)`
)

// allowances returns how many jobs of each limited name may be claimed now, and the names with
// claims that were counted before the clock went back, see tidySlots.
func (t *tx) allowances(names []string, all settings, now int64) (allowed map[string]int, untidy []string, err error) {
	allowed = make(map[string]int, len(names))
	var running, rates []string
	for _, name := range names {
		allowed[name] = math.MaxInt32
		if all[name].MaxRunning > 0 {
			running = append(running, name)
		}
		if all[name].Rate > 0 {
			rates = append(rates, name)
		}
	}
	if len(running) > 0 {
		counts, err := t.counted(running, backend.Running, backend.Running)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range running {
			allowed[name] = max(0, all[name].MaxRunning-int(counts[name]))
		}
	}
	if len(rates) == 0 {
		return allowed, nil, nil
	}
	slots, err := t.b.slots(t.ctx, t)
	for _, name := range rates {
		left, ahead := lifecycle.RateOf(all[name].Settings).Left(slots[name], now)
		allowed[name] = min(allowed[name], left)
		if ahead > 0 {
			untidy = append(untidy, name)
		}
	}
	return allowed, untidy, err
}

// tidySlots deletes what a rate no longer counts, and moves claims that were counted before
// the clock went back. The name's settings are locked.
func (t *tx) tidySlots(name string, s setting, now int64) error {
	rate := lifecycle.RateOf(s.Settings)
	if err := t.later(deleteSlots, name, rate.Since(now)); err != nil {
		return err
	}
	slots, err := t.b.slots(t.ctx, t)
	if err != nil {
		return err
	}
	_, ahead := rate.Left(slots[name], now)
	if ahead == 0 {
		return nil
	}
	if err := t.later(deleteAhead, name, rate.Ahead(now)); err != nil {
		return err
	}
	return t.start(name, s, now, int64(ahead))
}

// start records that jobs of a name were claimed, if it has a rate.
func (t *tx) start(name string, s setting, now, jobs int64) error {
	if s.Rate == 0 {
		return nil
	}
	err := t.later(insertSlot, name, lifecycle.RateOf(s.Settings).Slot(now), jobs)
	return err
}

// slots returns the claims that rates may count: at most a hundred slots for each name with a
// rate.
func (b *Backend) slots(ctx context.Context, q reader) (map[string][]lifecycle.Slot, error) {
	slots := map[string][]lifecycle.Slot{}
	err := b.scan(ctx, q, selectSlots, nil, func(r *sql.Rows) error {
		var name string
		var s lifecycle.Slot
		err := r.Scan(&name, &s.At, &s.Jobs)
		slots[name] = append(slots[name], s)
		return err
	})
	return slots, err
}
