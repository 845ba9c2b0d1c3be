package mysql

import (
	"context"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/audit"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

// repair corrects the differences that still exist. It locks the jobs and checks them again,
// because they may have changed since.
func (b *Backend) repair(ctx context.Context, d drift, all bool) error {
	if len(d.counts) > 0 {
		if err := b.repairCounts(ctx, all); err != nil {
			return err
		}
	}
	for _, step := range []func(*tx) error{
		func(t *tx) error {
			if !d.behind {
				return nil
			}
			err := t.later(`UPDATE plainjobs_meta SET number = GREATEST(number, (SELECT MAX(id) FROM plainjobs_job)) WHERE key_text IN ('next_id', 'last_id')`)
			return err
		},
		func(t *tx) error { return t.repairPlaces(d) },
		func(t *tx) error { return t.repairReady(d) },
		func(t *tx) error { return t.repairHeads(d) },
		func(t *tx) error { return t.repairSerial(append(slices.Clone(d.strays), d.blocked...)) },
		func(t *tx) error { return t.repairKeys(d) },
		func(t *tx) error { return t.repairKeyless(d.keyless) },
		func(t *tx) error { return t.repairGates(d.gates) },
		func(t *tx) error { return t.repairStranded(d.stranded) },
		func(t *tx) error { return t.deleteOrphans(d.orphans) },
	} {
		var gates []int64
		err := b.transact(ctx, func(t *tx) error {
			t.wakes = true
			err := step(t)
			gates = t.gates.TakeFolds()
			return err
		})
		if err != nil {
			return err
		}
		b.folder.Now(ctx, gates)
	}
	return nil
}

// lockRepair lets one repair of counts run at a time: two would both add what is missing.
const lockRepair = `SELECT number FROM plainjobs_meta WHERE key_text = 'fold' FOR UPDATE`

// repairCounts adds to the counts what is missing. Its snapshot is made when it has the lock.
// What commits later changes the jobs and the counts alike.
func (b *Backend) repairCounts(ctx context.Context, all bool) error {
	return b.retry(ctx, func() error {
		conn, err := b.acquire(ctx)
		if err != nil {
			return again(ctx, err)
		}
		defer func() { _ = conn.Close() }()
		t := &tx{b: b, ctx: ctx, conn: conn}
		_, err = conn.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`)
		if err == nil {
			_, err = conn.ExecContext(ctx, `START TRANSACTION`)
		}
		if err == nil {
			_, err = t.ids(lockRepair)
		}
		if err == nil {
			var d drift
			d, err = b.survey(ctx, conn, all)
			t.counts = d.counts
		}
		if err == nil {
			err = t.writeCounts()
		}
		if err == nil {
			err = t.flush()
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, `COMMIT`)
		}
		if err != nil {
			rollback(conn, err)
			return again(ctx, err)
		}
		b.watch.wake()
		return nil
	})
}

// repairPlaces deletes the places that no job has, and gives jobs the places that they lack.
func (t *tx) repairPlaces(d drift) error {
	if len(d.placed) == 0 {
		return nil
	}
	rows, err := t.lock(d.placed)
	if err != nil {
		return err
	}
	places := placeChange{left: d.left}
	for _, id := range sqlstore.Sorted(rows) {
		places.add(rows[id])
	}
	return places.store(t)
}

// lockBadSpans locks spans. Claims that have them are waited for.
var lockBadSpans = `
	SELECT r.last FROM ` + join("name*", "suspect", "prio", "run_at", "last") + ` plainjobs_ready r FORCE INDEX (PRIMARY)
	ON r.name = UNHEX(v.name) AND r.suspect = v.suspect AND r.prio = v.prio AND r.run_at = v.run_at AND r.last = v.last FOR UPDATE`

// repairReady rewrites the spans of the pending jobs that are wrong.
func (t *tx) repairReady(d drift) error {
	if len(d.spans) == 0 && len(d.unready) == 0 {
		return nil
	}
	ids := slices.Clone(d.unready)
	for _, s := range d.spans {
		for id := s.first; id <= s.last; id++ {
			ids = append(ids, id)
		}
	}
	locked, err := t.lock(ids)
	if err != nil {
		return err
	}
	if len(d.spans) > 0 {
		var keys values
		for _, s := range d.spans {
			keys.add(s.name, s.suspect, s.prio, s.runAt, s.last)
		}
		if _, err := t.ids(lockBadSpans, keys); err != nil {
			return err
		}
		if err := t.deleteSpans(d.spans); err != nil {
			return err
		}
	}
	rows := slices.Collect(maps.Values(locked))
	if err := t.findRunning(rows); err != nil {
		return err
	}
	var ready []span
	for _, r := range rows {
		if r.State != backend.Pending {
			continue
		}
		if inSpan, err := t.isReady(r); err != nil {
			return err
		} else if !inSpan {
			ready = append(ready, spanOf(r))
		}
	}
	return t.ready(ready)
}

// isReady reports whether a locked job is in a span.
func (t *tx) isReady(r *row) (bool, error) {
	s := spanOf(r)
	found, err := t.ids(`
		SELECT first FROM plainjobs_ready FORCE INDEX (PRIMARY)
		WHERE name = ? AND suspect = ? AND prio = ? AND run_at = ? AND last BETWEEN ? AND ? ORDER BY last LIMIT 1`,
		s.name, s.suspect, s.prio, s.runAt, s.last, s.last+maxSpan)
	return len(found) > 0 && found[0] <= r.id, err
}

// repairHeads advances serial keys whose heads do not exist.
func (t *tx) repairHeads(d drift) error {
	if len(d.heads) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	rows, err := t.lock(d.headsOf)
	if err != nil {
		return err
	}
	var gone []*row
	for i, k := range d.heads {
		r := rows[d.headsOf[i]]
		if r == nil || r.name != k.name || r.serial != k.key || r.State.Terminal() || r.State == backend.Blocked {
			gone = append(gone, &row{id: d.headsOf[i], name: k.name, serial: k.key, flags: flagSerial})
		}
	}
	return t.advance(gone, now)
}

// repairSerial makes jobs the heads of serial keys that have none, in order, and blocks the
// waiting jobs of the others.
func (t *tx) repairSerial(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	rows, err := t.lock(ids)
	if err == nil {
		err = t.own(slices.Collect(maps.Values(rows)))
	}
	if err != nil {
		return err
	}
	heads := map[nameKey]int64{}
	for _, id := range ids {
		if r := rows[id]; r != nil && r.serial != "" && !r.State.Terminal() {
			if k := (nameKey{r.name, r.serial}); heads[k] == 0 {
				heads[k] = id
			}
		}
	}
	behind, err := t.queueUp(heads)
	if err != nil {
		return err
	}
	var changed []*row
	seen := map[int64]bool{}
	for _, id := range ids {
		r := rows[id]
		if r == nil || r.serial == "" || !r.State.Waits() || seen[id] {
			continue
		}
		seen[id] = true
		k := nameKey{r.name, r.serial}
		if state := r.State; behind[k] || heads[k] != id {
			r.State = backend.Blocked
		} else if state == backend.Blocked {
			r.Job = r.Ready(now)
		}
		if r.State != r.was.State || r.owned {
			changed = append(changed, r)
		}
	}
	return t.write(changed)
}

// repairKeys releases unique keys of jobs that do not have them.
func (t *tx) repairKeys(d drift) error {
	if len(d.keys) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	rows, err := t.lock(d.keysOf)
	if err == nil {
		err = t.findRunning(slices.Collect(maps.Values(rows)))
	}
	if err != nil {
		return err
	}
	var lost values
	var over []*row
	for i, k := range d.keys {
		r := rows[d.keysOf[i]]
		switch {
		case r == nil || r.name != k.name || r.unique != k.key:
			lost.add(k.name, k.key, d.keysOf[i], 0)
		case r.State.Terminal() || r.State == backend.Running && r.flags&flagUntilStarted != 0:
			r.flags |= flagUnique
			over = append(over, r)
		}
	}
	if len(lost) > 0 {
		if err := t.later(deleteKeys, lost); err != nil {
			return err
		}
	}
	return t.releaseUnique(over, now)
}

// repairKeyless gives waiting jobs their unique keys, unless other jobs hold them.
func (t *tx) repairKeyless(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	rows, err := t.lock(ids)
	if err != nil {
		return err
	}
	wanted := map[nameKey]claimant{}
	for _, id := range ids {
		r := rows[id]
		if r == nil || !r.State.Waits() || r.unique == "" || r.Sleeps() && r.flags&flagUntilStarted != 0 {
			continue
		}
		if k := (nameKey{r.name, r.unique}); wanted[k].job == 0 {
			wanted[k] = claimant{job: id}
		}
	}
	if len(wanted) > 0 {
		_, err = t.acquireUnique(wanted, now)
	}
	return err
}

// deleteOrphans deletes what is stored for jobs that do not exist.
func (t *tx) deleteOrphans(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := t.lock(ids)
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return rows[id] != nil })
	for _, query := range []string{deleteErrors, deleteResults, deleteProgress, deleteSteps, deleteWaits, deleteFair, deleteMembers, deleteWaiters} {
		if err := t.later(query, valuesOf(gone)); err != nil {
			return err
		}
	}
	return nil
}

// audit checks derived state, if a check is due, and corrects it.
func (b *Backend) audit(ctx context.Context) error {
	var d drift
	return b.auditor.Run(b.opts.Logger, func() (_ string, err error) {
		d, err = b.drift(ctx, false)
		return d.summary(), err
	}, func() error { return b.repair(ctx, d, false) })
}

// derived compares derived state with the jobs, and corrects it on request.
func (e *examination) derived(ctx context.Context, req backend.ExamineRequest) error {
	if !req.Derived {
		return nil
	}
	var d drift
	var repair func() error
	if req.Repair {
		repair = func() error { return e.b.repair(ctx, d, true) }
	}
	first, left, err := audit.Correct(func() (_ string, more bool, err error) {
		d, err = e.b.drift(ctx, true)
		return d.summary(), d.full(), err
	}, repair)
	if err != nil {
		return err
	}
	value := "consistent"
	switch {
	case left != "":
		value = left
	case first != "":
		value = "corrected: " + first
	}
	e.add("derived state", value, when(left != "", "a statement outside the queue changed the jobs, so counts, keys or the like no longer match them"), "doctor --repair")
	return nil
}
