package postgres

import (
	"context"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// A gate that another transaction has locked is left out: that one adds a job, or
	// folds the gate.
	lockFolds = `SELECT ` + gateColumns + `, g.passing, plainjobs.now_micros() FROM plainjobs.job_gate g WHERE g.id = ANY($1::text::bigint[])
		ORDER BY g.id FOR UPDATE OF g SKIP LOCKED`

	takeChanges = `
		WITH gone AS (DELETE FROM plainjobs.gate_change WHERE gate = ANY($1::text::bigint[]) RETURNING gate, total, open, done, failed, cancelled)
		SELECT gate, sum(total)::bigint, sum(open)::bigint, sum(done)::bigint, sum(failed)::bigint, sum(cancelled)::bigint FROM gone GROUP BY gate`

	// Of gates that have ended, or have a failed member, those with jobs to let through,
	// or that are to be counted in others.
	selectPassing = `
		SELECT v.gate FROM unnest($1::text::bigint[], $2::text::boolean[]) AS v(gate, ended) WHERE EXISTS (
			SELECT 1 FROM plainjobs.gate_waiter w WHERE w.gate = v.gate AND w.waits AND (v.ended OR w.condition = 3))
		OR v.ended AND EXISTS (SELECT 1 FROM plainjobs.gate_await a WHERE a.hub = v.gate)`

	updateGates = `
		UPDATE plainjobs.job_gate g SET total = v.total, open = v.open, done = v.done, failed = v.failed, cancelled = v.cancelled,
			fired = v.fired, ended_at = v.ended_at, passing = v.passing, swept = CASE v.ended_at WHEN 0 THEN g.swept END
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
			$7::text::boolean[], $8::text::bigint[], $9::text::boolean[]) AS v(id, total, open, done, failed, cancelled, fired, ended_at, passing)
		WHERE g.id = v.id`
)

// maxFolds bounds the gates that a transaction folds.
const maxFolds = 100

// foldGates adds the changes of gates to them, ends those whose last member has ended, and
// lets waiters through. That may end other jobs, which count in other gates. It returns
// the gates that are left, because other transactions have locked them or their waiters.
//
// Only a fold ends a gate. It sees every change that was committed before it locked the
// gate. So of several transactions that end the last members at once, the fold after the
// last commit finds that no member is left.
func (b *Backend) foldGates(ctx context.Context, gates []int64) (left []int64, err error) {
	for len(gates) > 0 {
		n := min(len(gates), maxFolds)
		part := gates[:n:n]
		gates = gates[n:]
		var locked, next []int64
		err := b.transact(ctx, false, func(t *tx) (err error) {
			locked, err = t.fold(part)
			next = t.takeFolds()
			return err
		})
		if err != nil {
			return slices.Concat(left, part, gates), err
		}
		left, gates = append(left, locked...), slices.Concat(gates, next)
	}
	return left, nil
}

// fold folds gates in the transaction. It returns those that other transactions have
// locked, or whose waiters they have locked.
func (t *tx) fold(ids []int64) (locked []int64, err error) {
	gates := map[int64]*foldedGate{}
	err = t.each(lockFolds, []any{intArray(ids)}, func(r *sql.Rows) error {
		g := &foldedGate{}
		err := r.Scan(append(g.fields(), &g.wasPassing, &t.clock)...)
		g.was = g.Gate
		gates[g.id] = g
		return err
	})
	if err == nil && len(gates) < len(ids) {
		locked, err = t.lockedGates(ids, gates)
	}
	if err != nil || len(gates) == 0 {
		return locked, err
	}
	err = t.each(takeChanges, []any{intArray(sorted(gates))}, func(r *sql.Rows) error {
		var id int64
		var change lifecycle.Tally
		err := r.Scan(&id, &change.Total, &change.Open, &change.Done, &change.Failed, &change.Cancelled)
		gates[id].Gate = gates[id].Count(change, t.clock)
		return err
	})
	if err == nil {
		err = t.findPassing(gates)
	}
	if err != nil {
		return locked, err
	}
	limit := maxPassed
	for _, id := range sorted(gates) {
		g := gates[id]
		if g.was.EndedAt == 0 && g.EndedAt != 0 {
			t.b.folder.ended.Add(1)
		}
		if g.was.EndedAt == 0 && g.EndedAt != 0 && g.parent != 0 {
			t.tally(g.parent, lifecycle.Moved(backend.Pending, g.State()))
		}
		if !g.passing {
			continue
		}
		seen, passed := 0, 0
		if limit > 0 {
			seen, passed, err = t.passWaiters(&g.gateRow, limit)
		}
		if err == nil && g.Kind == backend.HubGate && seen < limit {
			var counted int
			counted, err = t.countHub(&g.gateRow, limit-seen)
			seen, passed = seen+counted, passed+counted
		}
		if err != nil {
			return locked, err
		}
		switch g.passing = seen == limit || passed < seen; {
		case seen > 0 && passed == 0:
			locked = append(locked, id)
		case g.passing:
			t.gateWork().folds[id] = true
		}
		limit -= seen
	}
	return locked, t.updateGates(gates)
}

const countAwaiting = `
	WITH gone AS (
		DELETE FROM plainjobs.gate_await WHERE gate = ANY(ARRAY(
			SELECT a.gate FROM plainjobs.gate_await a WHERE a.hub = $1::bigint ORDER BY a.gate LIMIT $2::bigint)) RETURNING gate)
	INSERT INTO ` + gateChanges + ` SELECT gate, 0, $3::bigint, $4::bigint, $5::bigint, $6::bigint FROM gone RETURNING gate`

// countHub counts a hub that has ended in gates that await it, at most limit, and returns
// their number. It locks none of them.
func (t *tx) countHub(hub *gateRow, limit int) (int, error) {
	if hub.EndedAt == 0 {
		return 0, nil
	}
	change := lifecycle.Moved(backend.Pending, hub.State())
	gates, err := t.ids(countAwaiting, hub.id, limit, change.Open, change.Done, change.Failed, change.Cancelled)
	for _, gate := range gates {
		t.gateWork().folds[gate] = true
	}
	return len(gates), err
}

// A foldedGate is a gate while it is folded.
type foldedGate struct {
	gateRow
	was                 lifecycle.Gate
	wasPassing, passing bool
}

const (
	selectGateIDs = `SELECT id FROM plainjobs.job_gate WHERE id = ANY($1::text::bigint[])`
	forgetChanges = `DELETE FROM plainjobs.gate_change WHERE gate = ANY($1::text::bigint[])`
)

// lockedGates returns the gates that exist and are not among those that were locked. It
// deletes the changes of those that were deleted.
func (t *tx) lockedGates(ids []int64, gates map[int64]*foldedGate) ([]int64, error) {
	var rest []int64
	for _, id := range ids {
		if gates[id] == nil {
			rest = append(rest, id)
		}
	}
	locked, err := t.ids(selectGateIDs, intArray(rest))
	rest = slices.DeleteFunc(rest, func(id int64) bool { return slices.Contains(locked, id) })
	if err == nil && len(rest) > 0 {
		_, err = t.exec(forgetChanges, intArray(rest))
	}
	return locked, err
}

// findPassing finds the gates that have waiters to let through.
func (t *tx) findPassing(gates map[int64]*foldedGate) error {
	var ids []int64
	var ended []bool
	for id, g := range gates {
		if g.passes() {
			ids, ended = append(ids, id), append(ended, g.EndedAt != 0)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	found, err := t.ids(selectPassing, intArray(ids), boolArray(ended))
	for _, id := range found {
		gates[id].passing = true
	}
	return err
}

// updateGates stores the gates that have changed.
func (t *tx) updateGates(gates map[int64]*foldedGate) error {
	var c tallyColumns
	var fired, passing []bool
	var ended []int64
	for id, g := range gates {
		if g.Gate != g.was || g.passing != g.wasPassing {
			c.add(id, g.Tally)
			fired, passing, ended = append(fired, g.Fired), append(passing, g.passing), append(ended, g.EndedAt)
		}
	}
	if len(c.ids) == 0 {
		return nil
	}
	_, err := t.exec(updateGates, intArray(c.ids), intArray(c.totals), intArray(c.opens), intArray(c.dones), intArray(c.faileds), intArray(c.cancelleds),
		boolArray(fired), intArray(ended), boolArray(passing))
	return err
}
