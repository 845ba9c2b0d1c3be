package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// inTx runs f in the caller's transaction, or in one of the writer if that is nil.
func (b *Backend) inTx(ctx context.Context, caller *sql.Tx, op string, f func(*tx) error) error {
	if caller == nil {
		return b.write(ctx, &request{op: op, firm: true, run: func(t *tx) error { return t.nested(func() error { return f(t) }) }})
	}
	err := b.inCallersTx(ctx, caller, op, f)
	if err == nil {
		b.notifyPendingTx()
	}
	return err
}

const (
	insertGate    = `INSERT INTO plainjobs_job_gate (label, parent, created_at) VALUES ('', 0, 0)`
	updateNewGate = `
		UPDATE plainjobs_job_gate SET total = ?, open = ?, done = ?, failed = ?, cancelled = ?, label = ?, parent = ?, kind = ?, sealed = ?,
			created_at = ?, deadline = ?, swept = ?, awaits = ?, awaiting = ?, paused = ? WHERE id = ?`

	selectGates = `
		SELECT ` + gateColumns + `, (SELECT count(*) FROM plainjobs_gate_waiter w WHERE w.gate = g.id AND w.waits = 1)
		FROM plainjobs_job_gate g WHERE g.id < ?`
)

// CreateGates implements [backend.GateStore].
func (b *Backend) CreateGates(ctx context.Context, caller *sql.Tx, req backend.GateRequest) (result backend.GateResult, err error) {
	if err := check.CreateGates(b.Describe(), req); err != nil {
		return result, fmt.Errorf("sqlite: create gates: %w", err)
	}
	err = b.inTx(ctx, caller, "create gates", func(t *tx) error {
		result = backend.GateResult{Jobs: make([]backend.Pushed, len(req.Jobs))}
		return b.createGates(t, req, &result, b.now())
	})
	if err != nil {
		return backend.GateResult{}, err
	}
	return result, nil
}

func (b *Backend) createGates(t *tx, req backend.GateRequest, result *backend.GateResult, now int64) error {
	for i := range req.Gates {
		if n := &req.Gates[i]; n.Parent > 0 {
			if err := t.checkGate(n.Parent, now); err != nil {
				return rejected{fmt.Errorf("gate %d: parent: %w", i, err)}
			}
		}
	}
	// The first row gives the IDs of all. They are written at last, with the counts of their members.
	inserted, err := t.exec(insertGate)
	if err != nil {
		return err
	}
	first, err := inserted.LastInsertId()
	if err != nil {
		return err
	}
	for i := range req.Gates {
		result.Gates = append(result.Gates, first+int64(i))
	}
	id := func(id int64) int64 {
		if id < 0 {
			return result.Gates[-1-id]
		}
		return id
	}
	b.work(t).created = [2]int64{first, first + int64(len(req.Gates))}
	for i := range req.Gates {
		n := &req.Gates[i]
		if n.Parent != 0 {
			b.tally(t, id(n.Parent), lifecycle.Joined(backend.Pending))
		}
		if n.Awaits != 0 {
			b.tally(t, result.Gates[i], lifecycle.Joined(backend.Pending))
		}
	}
	jobs := slices.Clone(req.Jobs)
	for i := range jobs {
		if from := jobs[i].Gating; from != nil {
			g := backend.Gating{Gates: slices.Clone(from.Gates), Gate: id(from.Gate), When: from.When}
			for at := range g.Gates {
				g.Gates[at] = id(g.Gates[at])
			}
			jobs[i].Gating = &g
		}
	}
	if len(jobs) > 0 {
		if err := b.push(t, jobs, result.Jobs, now); err != nil {
			return err
		}
	}
	b.work(t).created = [2]int64{}
	return b.insertGates(t, req.Gates, first, id, now)
}

// insertGates writes new gates, the first of which has a row. Their IDs follow each other.
func (b *Backend) insertGates(t *tx, gates []backend.NewGate, first int64, id func(int64) int64, now int64) error {
	pauses, err := t.pausesOf(gates)
	if err != nil {
		return err
	}
	row := func(i int) []any {
		n, gate := &gates[i], first+int64(i)
		g := lifecycle.NewGate(n, now)
		g.Sealed = n.Sealed
		// The transaction looks at a gate that ends or that lets a waiter through.
		if after := g.Count(b.work(t).tallies[gate], now); after.EndedAt == 0 && !after.Fired {
			g = after
			delete(t.gates.tallies, gate)
		} else {
			b.tally(t, gate, lifecycle.Tally{})
		}
		var swept any
		if g.Deadline != 0 {
			swept = 0
		}
		return []any{g.Total, g.Open, g.Done, g.Failed, g.Cancelled, n.Label, id(n.Parent), int64(n.Kind), g.Sealed,
			now, g.Deadline, swept, id(n.Awaits), n.Awaits != 0, int64(pauses[i]), gate}
	}
	if _, err := t.exec(updateNewGate, row(0)...); err != nil {
		return err
	}
	return insertNewGates.exec(t, len(gates)-1, func(args []any, i int) []any { return append(args, row(i+1)...) })
}

// seal seals a gate. The transaction looks at it before it commits.
func (b *Backend) seal(t *tx, gate int64) error {
	n, err := t.execN(sealGate, gate)
	if err == nil && n == 0 {
		err = fmt.Errorf("gate %d: %w", gate, backend.ErrNotFound)
	}
	b.tally(t, gate, lifecycle.Tally{})
	return err
}

// SealGates implements [backend.GateStore].
func (b *Backend) SealGates(ctx context.Context, caller *sql.Tx, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	return b.inTx(ctx, caller, "seal gates", func(t *tx) error {
		for _, id := range ids {
			if err := b.seal(t, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// Gates implements [backend.GateStore].
func (b *Backend) Gates(ctx context.Context, query backend.GateQuery) (infos []backend.GateInfo, err error) {
	limit, err := check.Gates(query)
	if err != nil {
		return nil, fmt.Errorf("sqlite: gates: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "gates", err)
	}
	defer leave()
	text, args := selectGates, []any{int64(math.MaxInt64)}
	if query.Before != 0 {
		args[0] = query.Before
	}
	if query.IDs != nil {
		ids, err := json.Marshal(query.IDs)
		if err != nil {
			return nil, failed(ctx, "gates", err)
		}
		text, args = text+` AND g.id IN (SELECT value FROM json_each(?))`, append(args, string(ids))
	}
	if query.Parent != 0 {
		text, args = text+` AND g.parent = ? AND g.parent > 0`, append(args, query.Parent)
	}
	if !query.Needs && query.IDs == nil && query.Parent == 0 {
		text += ` AND g.kind < 2`
	}
	if query.Open {
		text += ` AND g.ended_at = 0`
	}
	err = b.read(ctx, func(q queryer) error {
		infos = nil
		return scan(ctx, q, b.sql(text+` ORDER BY g.id DESC LIMIT ?`), append(args, limit), func(r *sql.Rows) error {
			var g gateRow
			var waiting int64
			err := r.Scan(append(g.fields(), &waiting)...)
			infos = append(infos, g.info(waiting))
			return err
		})
	})
	return infos, failed(ctx, "gates", err)
}

func (g *gateRow) info(waiting int64) backend.GateInfo {
	info := backend.GateInfo{ID: g.id, Label: g.label, Parent: g.parent, Awaits: g.awaits, Awaiting: g.awaiting, Waiting: waiting, CreatedAt: instant(g.created)}
	g.Paused = g.pause == paused
	g.FillGate(&info)
	return info
}

const (
	deleteGate        = `DELETE FROM plainjobs_job_gate WHERE id = ?`
	deleteGateMembers = `DELETE FROM plainjobs_gate_member WHERE gate = ?`
	deleteGateWaiters = `DELETE FROM plainjobs_gate_waiter WHERE gate = ?`
	orphanGates       = `UPDATE plainjobs_job_gate SET parent = 0 WHERE parent = ? AND parent > 0`

	// What a gate has still to let through, or to be counted in.
	selectWaits = `
		SELECT 1 WHERE EXISTS (SELECT 1 FROM plainjobs_gate_waiter WHERE gate = ?1 AND waits = 1)
			OR EXISTS (SELECT 1 FROM plainjobs_job_gate WHERE awaiting = 1 AND awaits = ?1)`

	// Of the gates of a window of IDs, the last, and those to delete.
	selectWindow = `
		SELECT coalesce((SELECT id FROM plainjobs_job_gate WHERE id > ?1 ORDER BY id LIMIT 1 OFFSET 999),
			(SELECT max(id) FROM plainjobs_job_gate WHERE id > ?1), 0)`
	selectStale = `
		SELECT g.id FROM plainjobs_job_gate g WHERE g.id > ? AND g.id <= ? AND g.ended_at > 0 AND g.ended_at <= ?
			AND NOT EXISTS (SELECT 1 FROM plainjobs_gate_waiter w WHERE w.gate = g.id AND w.waits = 1)
			AND (g.kind < 2 AND g.ended_at <= ? OR NOT EXISTS (SELECT 1 FROM plainjobs_gate_member m WHERE m.gate = g.id)
				AND NOT EXISTS (SELECT 1 FROM plainjobs_gate_waiter w WHERE w.gate = g.id))
			AND NOT EXISTS (SELECT 1 FROM plainjobs_job_gate a WHERE a.awaiting = 1 AND a.awaits = g.id)`
)

// DeleteGates implements [backend.GateStore].
func (b *Backend) DeleteGates(ctx context.Context, ids []int64) (deleted []int64, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = b.write(ctx, &request{op: "delete gates", firm: true, run: func(t *tx) error {
		deleted = nil
		for _, id := range ids {
			g, err := t.gate(id)
			if err != nil {
				return err
			}
			waits := false
			err = t.each(selectWaits, []any{id}, func(*sql.Rows) (bool, error) { waits = true; return false, nil })
			if err != nil {
				return err
			}
			if g.EndedAt == 0 || waits {
				continue
			}
			if err := t.deleteGate(id); err != nil {
				return err
			}
			deleted = append(deleted, id)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	slices.Sort(deleted)
	return deleted, nil
}

// deleteGate deletes a gate, which its jobs forget.
func (t *tx) deleteGate(id int64) error {
	for _, query := range []string{deleteGateMembers, deleteGateWaiters, orphanGates, deleteGate} {
		if _, err := t.exec(query, id); err != nil {
			return err
		}
	}
	return nil
}

// reapGates continues gates that a process has left, applies deadlines, and deletes gates
// whose retention has ended. It reports whether there may be more to do.
func (b *Backend) reapGates(t *tx, now int64, limit int) (more bool, err error) {
	if err := b.continueGates(t); err != nil {
		return false, err
	}
	if more, err = b.sweepGates(t, now, limit); err != nil {
		return false, err
	}
	after, last := b.sweeper.Load(), int64(0)
	err = t.each(selectWindow, []any{after}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&last) })
	if err != nil || last == 0 {
		b.sweeper.Store(0)
		return more, err
	}
	var stale []int64
	args := []any{after, last, now - backend.KeepGate.Microseconds(), now - backend.KeepEnded.Microseconds()}
	err = t.each(selectStale, args, func(r *sql.Rows) (bool, error) {
		var id int64
		err := r.Scan(&id)
		stale = append(stale, id)
		return true, err
	})
	if err != nil {
		return false, err
	}
	for _, id := range stale {
		if err := t.deleteGate(id); err != nil {
			return false, err
		}
	}
	b.sweeper.Store(last)
	return more, nil
}

// passOn lets waiters through that transactions of this process have left. What it cannot
// do, a later call or Reap does.
func (b *Backend) passOn(ctx context.Context) {
	for b.passing.Swap(false) {
		err := b.writer.do(ctx, &request{op: "gates", run: b.continueGates})
		if err != nil {
			b.passing.Store(true)
			return
		}
	}
}
