package postgres

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// A gate that another transaction has locked is left out: that one adds a job, or
	// folds the gate.
	lockFolds = `SELECT ` + sqlstore.GateColumns + `, g.passing, g.paused, plainjobs.now_micros() FROM plainjobs.job_gate g WHERE g.id = ANY($1::text::bigint[])
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
			fired = v.fired, ended_at = v.ended_at, passing = v.passing, paused = v.paused, swept = CASE v.ended_at WHEN 0 THEN g.swept END
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
			$7::text::boolean[], $8::text::bigint[], $9::text::boolean[], $10::text::smallint[])
			AS v(id, total, open, done, failed, cancelled, fired, ended_at, passing, paused)
		WHERE g.id = v.id`
)

// errKeyHeld says that another transaction holds a key of a waiter.
var errKeyHeld = errors.New("a key is locked")

// foldGates folds gates in a transaction; see Folder.Fold. A gate is left, too, if another
// transaction holds a key of one of its waiters. Then the others are folded by themselves.
func (b *Backend) foldGates(ctx context.Context, gates []int64) (left, changed []int64, err error) {
	err = b.transact(ctx, false, func(t *tx) (err error) {
		left, err = t.fold(gates)
		changed = t.gates.TakeFolds()
		if t.hurries && code(err) == codeLockTimeout {
			return errKeyHeld
		}
		return err
	})
	if !errors.Is(err, errKeyHeld) {
		return left, changed, err
	}
	if len(gates) == 1 {
		return gates, nil, nil
	}
	left, changed = nil, nil
	for i := range gates {
		some, more, err := b.foldGates(ctx, gates[i:i+1])
		if err != nil {
			return nil, nil, err
		}
		left, changed = append(left, some...), append(changed, more...)
	}
	return left, changed, nil
}

// hurry bounds how long the transaction waits for keys. The application's transaction that
// has locked one may take long, and may wait for a gate that this one has locked.
func (t *tx) hurry() error {
	if t.hurries {
		return nil
	}
	t.hurries = true
	_, err := t.exec(`SELECT set_config('lock_timeout', '10ms', true)`)
	return err
}

// maxWatched bounds how long the folder waits for the end of an application's transaction.
const maxWatched = 10 * time.Minute

const (
	selectXactID = `SELECT pg_current_xact_id()::text::bigint`
	selectXacts  = `SELECT v.id FROM unnest($1::text::bigint[]) AS v(id) WHERE pg_xact_status(v.id::text::xid8) = 'in progress'`
)

// foldAtCommit has the gates folded that a transaction of the application changes, once
// that has committed.
func (t *tx) foldAtCommit() error {
	gates := t.gates.ToFold()
	if len(gates) == 0 {
		return nil
	}
	ids, err := t.ids(selectXactID)
	if err == nil {
		t.b.folder.After(ids[0], gates)
	}
	return err
}

// openXacts reports which transactions are in progress.
func (b *Backend) openXacts(ctx context.Context, ids []int64) (map[int64]bool, error) {
	progress := map[int64]bool{}
	err := b.alone(ctx, true, func(q querier) error {
		return b.scan(ctx, q, selectXacts, []any{intArray(ids)}, func(r *sql.Rows) error {
			var id int64
			err := r.Scan(&id)
			progress[id] = true
			return err
		})
	})
	return progress, err
}

// foldAfter folds gates after a call.
func (b *Backend) foldAfter(ctx context.Context, gates []int64) {
	if len(gates) == 0 {
		return
	}
	if leave, err := b.enter(); err == nil { // otherwise a later Reap folds them
		defer leave()
		b.folder.Now(ctx, gates)
	}
}

// fold folds gates in the transaction. It returns those that other transactions have
// locked, or whose waiters they have locked.
func (t *tx) fold(ids []int64) (locked []int64, err error) {
	gates := map[int64]*foldedGate{}
	err = t.each(lockFolds, []any{intArray(ids)}, func(r *sql.Rows) error {
		g := &foldedGate{}
		err := r.Scan(append(g.Fields(), &g.wasPassing, &g.pause, &t.clock)...)
		g.was, g.wasPause = g.Gate.Gate, g.pause
		gates[g.ID] = g
		return err
	})
	if err == nil && len(gates) < len(ids) {
		locked, err = t.lockedGates(ids, gates)
	}
	if err != nil || len(gates) == 0 {
		return locked, err
	}
	err = t.each(takeChanges, []any{intArray(sqlstore.Sorted(gates))}, func(r *sql.Rows) error {
		var id int64
		var change lifecycle.Tally
		err := r.Scan(&id, &change.Total, &change.Open, &change.Done, &change.Failed, &change.Cancelled)
		gates[id].Gate.Gate = gates[id].Count(change, t.clock)
		return err
	})
	if err == nil {
		err = t.findPassing(gates)
	}
	if err != nil {
		return locked, err
	}
	limit := maxPassed
	for _, id := range sqlstore.Sorted(gates) {
		g := gates[id]
		if g.was.EndedAt == 0 && g.EndedAt != 0 {
			t.b.folder.Ended()
		}
		if g.was.EndedAt == 0 && g.EndedAt != 0 && g.Parent != 0 {
			t.tally(g.Parent, lifecycle.Moved(backend.Pending, g.State()))
		}
		if g.pause == resumed {
			n, waits, err := t.release(g, limit)
			if limit -= n; err != nil {
				return locked, err
			}
			if waits {
				locked = append(locked, id)
			}
		}
		if !g.passing {
			continue
		}
		seen, passed := 0, 0
		if limit > 0 {
			seen, passed, err = t.passWaiters(&g.Gate, limit)
		}
		if err == nil && g.Kind == backend.HubGate && seen < limit {
			var counted int
			counted, err = t.countHub(&g.Gate, limit-seen)
			seen, passed = seen+counted, passed+counted
		}
		if err != nil {
			return locked, err
		}
		switch g.passing = seen == limit || passed < seen; {
		case seen > 0 && passed == 0:
			locked = append(locked, id)
		case g.passing:
			t.gateWork().Folds[id] = true
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
func (t *tx) countHub(hub *sqlstore.Gate, limit int) (int, error) {
	if hub.EndedAt == 0 {
		return 0, nil
	}
	change := lifecycle.Moved(backend.Pending, hub.State())
	gates, err := t.ids(countAwaiting, hub.ID, limit, change.Open, change.Done, change.Failed, change.Cancelled)
	for _, gate := range gates {
		t.gateWork().Folds[gate] = true
	}
	return len(gates), err
}

// A foldedGate is a gate while it is folded.
type foldedGate struct {
	sqlstore.Gate
	was                 lifecycle.Gate
	wasPassing, passing bool
	wasPause, pause     pause
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
		if g.Passes() {
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
	var pauses []pause
	for id, g := range gates {
		if g.Gate.Gate != g.was || g.passing != g.wasPassing || g.pause != g.wasPause {
			c.add(id, g.Tally)
			fired, passing, ended = append(fired, g.Fired), append(passing, g.passing), append(ended, g.EndedAt)
			pauses = append(pauses, g.pause)
		}
	}
	if len(c.ids) == 0 {
		return nil
	}
	_, err := t.exec(updateGates, intArray(c.ids), intArray(c.totals), intArray(c.opens), intArray(c.dones), intArray(c.faileds), intArray(c.cancelleds),
		boolArray(fired), intArray(ended), boolArray(passing), intArray(pauses))
	return err
}
