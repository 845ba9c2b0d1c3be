package mysql

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	takeChanges = `SELECT id, gate, total, open, done, failed, cancelled FROM plainjobs_gate_change FORCE INDEX (gate_change_gate) WHERE gate IN (?)`

	selectAwaiting = `SELECT gate FROM plainjobs_gate_await FORCE INDEX (gate_await_hub) WHERE hub = ? ORDER BY gate LIMIT ? FOR UPDATE`
	deleteAwaits   = `DELETE FROM plainjobs_gate_await WHERE gate IN (?)`

	selectGateIDs = `SELECT id FROM plainjobs_job_gate FORCE INDEX (PRIMARY) WHERE id IN (?)`
	forgetChanges = `DELETE FROM plainjobs_gate_change WHERE gate IN (?)`
)

var (
	// A gate that another transaction has locked is left out: that one adds a job, or folds
	// the gate.
	lockFolds = `SELECT ` + sqlstore.GateColumns + `, g.passing FROM ` + joinGates + ` FOR UPDATE SKIP LOCKED`

	deleteTaken = `DELETE c FROM ` + join("id") + ` plainjobs_gate_change c FORCE INDEX (PRIMARY) ON c.id = v.id`

	// Of gates that have ended, or have a failed member, those with jobs to let through, or
	// that are to be counted in others.
	selectPassing = `SELECT g.id FROM ` + join("id", "ended") + ` plainjobs_job_gate g FORCE INDEX (PRIMARY) ON g.id = v.id
		WHERE (SELECT 1 FROM plainjobs_gate_waiter w FORCE INDEX (gate_waiter_waits)
				WHERE w.gate = g.id AND w.waits = 1 AND (v.ended = 1 OR w.cond = 3) LIMIT 1) IS NOT NULL
			OR v.ended = 1 AND (SELECT 1 FROM plainjobs_gate_await a FORCE INDEX (gate_await_hub) WHERE a.hub = g.id LIMIT 1) IS NOT NULL`

	updateGates = `UPDATE ` + join("id", "total", "open", "done", "failed", "cancelled", "fired", "ended_at", "passing") + `
			plainjobs_job_gate g FORCE INDEX (PRIMARY) ON g.id = v.id
		SET g.total = v.total, g.open = v.open, g.done = v.done, g.failed = v.failed, g.cancelled = v.cancelled, g.fired = v.fired,
			g.ended_at = v.ended_at, g.passing = v.passing, g.due_at = IF(v.ended_at = 0, g.due_at, NULL)`
)

// errKeyHeld says that another transaction holds a key of a waiter.
var errKeyHeld = errors.New("a key is locked")

// foldGates folds gates in a transaction; see Folder.Fold. A gate is left, too, if another
// transaction holds a key of one of its waiters. Then the others are folded by themselves.
func (b *Backend) foldGates(ctx context.Context, gates []int64) (left, changed []int64, err error) {
	err = b.transact(ctx, func(t *tx) (err error) {
		left, err = t.fold(gates)
		changed = t.gates.TakeFolds()
		if err == nil && t.hurries {
			err = t.flush()
		}
		if t.hurries && number(err) == errLockTimeout {
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

// A foldedGate is a gate while it is folded.
type foldedGate struct {
	sqlstore.Gate
	was                 lifecycle.Gate
	wasPassing, passing bool
}

// fold folds gates in the transaction. It returns those that other transactions have locked, or
// whose waiters they have locked.
func (t *tx) fold(ids []int64) (locked []int64, err error) {
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	gates := map[int64]*foldedGate{}
	err = t.each(lockFolds, []any{valuesOf(ids)}, func(r *sql.Rows) error {
		g := &foldedGate{}
		err := r.Scan(append(g.Fields(), &g.wasPassing)...)
		g.was = g.Gate.Gate
		gates[g.ID] = g
		return err
	})
	if err == nil && len(gates) < len(ids) {
		locked, err = t.lockedGates(ids, gates)
	}
	if err == nil && len(gates) > 0 {
		err = t.takeChanges(gates, now)
	}
	if err != nil || len(gates) == 0 {
		return locked, err
	}
	limit := maxPassed
	for _, id := range sqlstore.Sorted(gates) {
		g := gates[id]
		if g.was.EndedAt == 0 && g.EndedAt != 0 {
			t.b.folder.Ended()
			if g.Parent != 0 {
				t.tally(g.Parent, lifecycle.Moved(backend.Pending, g.State()))
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

// takeChanges adds the changes of locked gates to them, and finds those with waiters to let
// through.
func (t *tx) takeChanges(gates map[int64]*foldedGate, now int64) error {
	changes := map[int64]lifecycle.Tally{}
	var taken, passes values
	err := t.each(takeChanges, []any{idList(sqlstore.Sorted(gates))}, func(r *sql.Rows) error {
		var id, gate int64
		var c lifecycle.Tally
		err := r.Scan(&id, &gate, &c.Total, &c.Open, &c.Done, &c.Failed, &c.Cancelled)
		taken.add(id)
		changes[gate] = changes[gate].Plus(c)
		return err
	})
	if err == nil && len(taken) > 0 {
		err = t.later(deleteTaken, taken)
	}
	if err != nil {
		return err
	}
	for _, id := range sqlstore.Sorted(gates) {
		g := gates[id]
		if change, ok := changes[id]; ok {
			g.Gate.Gate = g.Count(change, now)
		}
		if g.Passes() {
			passes.add(id, g.EndedAt != 0)
		}
	}
	if len(passes) == 0 {
		return nil
	}
	found, err := t.ids(selectPassing, passes)
	for _, id := range found {
		gates[id].passing = true
	}
	return err
}

// countHub counts a hub that has ended in gates that await it, at most limit, and returns their
// number. It locks none of them.
func (t *tx) countHub(hub *sqlstore.Gate, limit int) (int, error) {
	if hub.EndedAt == 0 {
		return 0, nil
	}
	gates, err := t.ids(selectAwaiting, hub.ID, limit)
	if err != nil || len(gates) == 0 {
		return 0, err
	}
	for _, gate := range gates {
		t.tally(gate, lifecycle.Moved(backend.Pending, hub.State()))
	}
	return len(gates), t.later(deleteAwaits, idList(gates))
}

// lockedGates returns the gates that exist and are not among those that were locked. It deletes
// the changes of those that were deleted.
func (t *tx) lockedGates(ids []int64, gates map[int64]*foldedGate) ([]int64, error) {
	rest := map[int64]bool{}
	for _, id := range ids {
		if gates[id] == nil {
			rest[id] = true
		}
	}
	if len(rest) == 0 { // some were asked for twice
		return nil, nil
	}
	locked, err := t.ids(selectGateIDs, idList(sqlstore.Sorted(rest)))
	for _, id := range locked {
		delete(rest, id)
	}
	if err == nil && len(rest) > 0 {
		err = t.later(forgetChanges, idList(sqlstore.Sorted(rest)))
	}
	return locked, err
}

// updateGates stores the gates that have changed.
func (t *tx) updateGates(gates map[int64]*foldedGate) error {
	var rows values
	for _, id := range sqlstore.Sorted(gates) {
		if g := gates[id]; g.Gate.Gate != g.was || g.passing != g.wasPassing {
			rows.add(id, g.Total, g.Open, g.Done, g.Failed, g.Cancelled, g.Fired, g.EndedAt, g.passing)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return t.later(updateGates, rows)
}

// maxWatched bounds how long the folder waits for the commit of an application's transaction. It
// cannot see that one was rolled back.
const maxWatched = time.Minute

// markCommit has the gates folded that a transaction of the application changes, once that has
// committed: it stores a change of a number that is no gate's.
func (t *tx) markCommit() {
	gates := t.gates.ToFold()
	if len(gates) == 0 {
		return
	}
	mark := -1 - rand.Int64N(1<<62)
	t.gates.Tallies[mark] = lifecycle.Tally{}
	t.marked = slices.Concat(gates, []int64{mark}) // a fold deletes the change of a gate that does not exist
}

// watchCommit has the folder wait for the commit.
func (t *tx) watchCommit() {
	if n := len(t.marked); n > 0 {
		t.b.folder.After(t.marked[n-1], t.marked)
	}
}

const selectMarks = `SELECT gate FROM plainjobs_gate_change FORCE INDEX (gate_change_gate) WHERE gate IN (?)`

// openMarks reports which transactions with the given marks have not committed.
func (b *Backend) openMarks(ctx context.Context, marks []int64) (map[int64]bool, error) {
	open := map[int64]bool{}
	conn, err := b.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	for _, mark := range marks {
		open[mark] = true
	}
	err = b.scan(ctx, conn, selectMarks, []any{idList(marks)}, func(r *sql.Rows) error {
		var mark int64
		err := r.Scan(&mark)
		delete(open, mark)
		return err
	})
	return open, err
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
