package postgres

import (
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/audit"
)

// repair corrects the differences that still exist. It locks the jobs and checks
// them again, because they may have changed since.
func (b *Backend) repair(ctx context.Context, d drift, all bool) error {
	err := b.transact(ctx, false, func(t *tx) error {
		t.wakes = true
		return t.repairReady(d)
	})
	if err != nil {
		return err
	}
	if d.counts > 0 || len(d.spans)+len(d.unready) > 0 { // spans count as what they should have
		err := b.transact(ctx, false, func(t *tx) error {
			_, err := t.exec(lockRepair, b.opts.Schema)
			if err == nil {
				_, err = t.exec(countsOf(repairCounts, all))
			}
			t.wakes = true
			return err
		})
		if err != nil {
			return err
		}
	}
	if d.sequence {
		if err := b.alone(ctx, true, func(q querier) error { return b.scan(ctx, q, catchUp, nil, func(*sql.Rows) error { return nil }) }); err != nil {
			return err
		}
	}
	for _, step := range []func(*tx) error{
		func(t *tx) error { return t.repairHeads(d) },
		func(t *tx) error { return t.repairSerial(append(slices.Clone(d.strays), d.blocked...)) },
		func(t *tx) error { return t.repairKeys(d) },
		func(t *tx) error { return t.repairKeyless(d.keyless) },
		func(t *tx) error { return t.repairGates(d.gates) },
		func(t *tx) error { return t.repairStranded(d.stranded) },
		func(t *tx) error {
			if len(d.orphans) == 0 {
				return nil
			}
			_, err := t.exec(deleteOrphans, intArray(d.orphans))
			return err
		},
	} {
		var gates []int64
		err := b.transact(ctx, false, func(t *tx) error {
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

const (
	lockRanges = `
		SELECT j.id FROM plainjobs.job j WHERE j.id = ANY(ARRAY(
			SELECT x.id FROM unnest($1::text::bigint[], $2::text::bigint[]) AS v(first, last) JOIN plainjobs.job x ON x.id BETWEEN v.first AND v.last
			UNION SELECT unnest($3::text::bigint[]))) ORDER BY j.id FOR UPDATE`
	deleteBadSpans = `
		DELETE FROM plainjobs.ready r
		USING unnest($1::text::text[], $2::text::boolean[], $3::text::integer[], $4::text::bigint[], $5::text::bigint[]) AS v(name, suspect, rank, run_at, last)
		WHERE r.name = v.name AND r.suspect = v.suspect AND r.rank = v.rank AND r.run_at = v.run_at AND r.last = v.last`
	readyAgain = `
		WITH added AS (SELECT ` + addedColumns + ` FROM plainjobs.job j WHERE j.id = ANY($1::text::bigint[]) AND ` + unready + `)` + insertSpans
)

// repairReady rewrites the spans of the pending jobs that are wrong.
func (t *tx) repairReady(d drift) error {
	if len(d.spans) == 0 && len(d.unready) == 0 {
		return nil
	}
	c := newSpanColumns(d.spans)
	var ids []int64
	err := t.each(lockRanges, []any{intArray(c.firsts), intArray(c.lasts), intArray(d.unready)}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return err
	}
	_, err = t.exec(deleteBadSpans, textArray(c.names), boolArray(c.suspects), intArray(c.ranks), intArray(c.runAts), intArray(c.lasts))
	if err != nil {
		return err
	}
	t.again = true
	_, err = t.exec(readyAgain, intArray(ids))
	return err
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
	rows, err := t.lock(slices.Compact(slices.Sorted(slices.Values(d.headsOf))))
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

// repairSerial makes jobs the heads of serial keys that have none, in order, and
// blocks the waiting jobs of the others.
func (t *tx) repairSerial(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	rows, err := t.lock(slices.Compact(slices.Sorted(slices.Values(ids))))
	if err != nil {
		return err
	}
	if err := t.own(slices.Collect(maps.Values(rows))); err != nil {
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
	taken, err := t.queueUp(heads)
	if err != nil {
		return err
	}
	var changed []*row
	for _, id := range ids {
		r := rows[id]
		if r == nil || r.serial == "" || !r.State.Waits() {
			continue
		}
		k := nameKey{r.name, r.serial}
		if state := r.State; taken[k] || heads[k] != id {
			r.State = backend.Blocked
		} else if state == backend.Blocked {
			r.Job = r.Ready(now)
		}
		if r.State != r.was || r.owned {
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
	rows, err := t.lock(slices.Compact(slices.Sorted(slices.Values(d.keysOf))))
	if err != nil {
		return err
	}
	var lost []nameKey
	var jobs []int64
	var ended []*row
	for i, k := range d.keys {
		r := rows[d.keysOf[i]]
		switch {
		case r == nil || r.name != k.name || r.unique != k.key:
			lost, jobs = append(lost, k), append(jobs, d.keysOf[i])
		case r.State.Terminal() || r.State == backend.Running && r.flags&flagUntilStarted != 0:
			r.flags |= flagUnique
			ended = append(ended, r)
		}
	}
	names, values := columns(lost)
	if _, err := t.exec(deleteLostKeys, names, values, intArray(jobs)); err != nil {
		return err
	}
	return t.releaseUnique(ended, now)
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
