package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	insertGates = `
		INSERT INTO plainjobs_job_gate (id, label, parent, total, open, done, failed, cancelled, created_at, ended_at, deadline, due_at, swept, awaits, kind,
			listed, sealed, fired, passing) VALUES `
	insertAwaits = `INSERT INTO plainjobs_gate_await (gate, hub) VALUES `
	sealGates    = `UPDATE plainjobs_job_gate FORCE INDEX (PRIMARY) SET sealed = 1 WHERE id IN (?)`

	selectGates = `
		SELECT ` + sqlstore.GateColumns + `,
			(SELECT CAST(COALESCE(SUM(x.total), 0) AS SIGNED) FROM plainjobs_gate_change x WHERE x.gate = g.id),
			(SELECT CAST(COALESCE(SUM(x.open), 0) AS SIGNED) FROM plainjobs_gate_change x WHERE x.gate = g.id),
			(SELECT CAST(COALESCE(SUM(x.done), 0) AS SIGNED) FROM plainjobs_gate_change x WHERE x.gate = g.id),
			(SELECT CAST(COALESCE(SUM(x.failed), 0) AS SIGNED) FROM plainjobs_gate_change x WHERE x.gate = g.id),
			(SELECT CAST(COALESCE(SUM(x.cancelled), 0) AS SIGNED) FROM plainjobs_gate_change x WHERE x.gate = g.id),
			(SELECT COUNT(*) FROM plainjobs_gate_waiter w FORCE INDEX (gate_waiter_waits) WHERE w.gate = g.id AND w.waits = 1),
			EXISTS (SELECT 1 FROM plainjobs_gate_await a WHERE a.gate = g.id)
		FROM plainjobs_job_gate g WHERE `
)

var (
	joinGates = join("id") + ` plainjobs_job_gate g FORCE INDEX (PRIMARY) ON g.id = v.id`
	lockGates = `SELECT g.id FROM ` + joinGates + ` FOR UPDATE`
)

// inTx runs f in the caller's transaction, or in one of the store if that is nil. Then gates
// that f changed are folded.
func (b *Backend) inTx(ctx context.Context, caller *sql.Tx, op string, f func(*tx) error) error {
	if caller != nil {
		return b.within(ctx, caller, op, f)
	}
	var gates []int64
	err := b.write(ctx, op, func(t *tx) error {
		err := f(t)
		gates = t.gates.TakeFolds()
		return err
	})
	if err == nil {
		b.foldAfter(ctx, gates)
	}
	return err
}

// CreateGates implements [backend.GateStore]. Gates have IDs of the same blocks as jobs.
func (b *Backend) CreateGates(ctx context.Context, caller *sql.Tx, req backend.GateRequest) (result backend.GateResult, err error) {
	if err := check.CreateGates(b.Describe(), req); err != nil {
		return result, fmt.Errorf("mysql: create gates: %w", err)
	}
	err = b.inTx(ctx, caller, "create gates", func(t *tx) error {
		result = backend.GateResult{}
		return t.createGates(req, &result)
	})
	if err != nil {
		return backend.GateResult{}, err
	}
	return result, nil
}

// createGates stores new gates with the counts that they have once the jobs are stored.
func (t *tx) createGates(req backend.GateRequest, result *backend.GateResult) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	ids, err := t.newIDs(len(req.Gates))
	if err != nil {
		return err
	}
	for id := ids.next; id < ids.end; id++ {
		result.Gates = append(result.Gates, id)
	}
	resolve := func(id int64) int64 {
		if id < 0 {
			return result.Gates[-1-id]
		}
		return id
	}
	rows := make([]sqlstore.Gate, len(req.Gates))
	var parents []int64
	for i := range req.Gates {
		n := &req.Gates[i]
		rows[i] = sqlstore.Gate{Gate: lifecycle.NewGate(n, now), ID: result.Gates[i], Label: n.Label, Parent: resolve(n.Parent), Created: now, Awaits: resolve(n.Awaits)}
		t.gateWork().Created[rows[i].ID] = true
		if n.Parent > 0 {
			parents = append(parents, n.Parent)
		}
	}
	refused, err := t.shareGates(parents)
	if err != nil {
		return err
	}
	for i := range req.Gates {
		if err := refused[req.Gates[i].Parent]; err != nil {
			return rejected{fmt.Errorf("gate %d: parent: %w", i, err)}
		}
	}
	for i := range rows {
		if rows[i].Parent != 0 {
			t.tally(rows[i].Parent, lifecycle.Joined(backend.Pending))
		}
		if rows[i].Awaits != 0 {
			t.tally(rows[i].ID, lifecycle.Joined(backend.Pending))
		}
	}
	result.Jobs = []backend.Pushed{}
	if len(req.Jobs) > 0 {
		if result.Jobs, err = t.push(sqlstore.Resolve(req.Jobs, resolve)); err != nil {
			return err
		}
	}
	awaiting, hubs := t.gates.CountNew(rows, req.Gates, now)
	if err := t.insertGateRows(rows); err != nil {
		return err
	}
	return t.insertAwaits(awaiting, hubs)
}

func (t *tx) insertGateRows(gates []sqlstore.Gate) error {
	rows := insert{head: insertGates}
	for i := range gates {
		g := &gates[i]
		var due any = null
		if g.Deadline != 0 && g.EndedAt == 0 {
			due = g.Deadline
		}
		err := rows.add(t, g.ID, g.Label, g.Parent, g.Total, g.Open, g.Done, g.Failed, g.Cancelled, g.Created, g.EndedAt, g.Deadline, due, 0, g.Awaits, int64(g.Kind),
			g.Kind < backend.NeedGate, g.Sealed, g.Fired, g.Passes())
		if err != nil {
			return err
		}
	}
	return rows.flush(t)
}

func (t *tx) insertAwaits(gates, hubs []int64) error {
	rows := insert{head: insertAwaits}
	for i := range gates {
		if err := rows.add(t, gates[i], hubs[i]); err != nil {
			return err
		}
	}
	return rows.flush(t)
}

// SealGates implements [backend.GateStore]. It waits for transactions that add to the gates.
func (b *Backend) SealGates(ctx context.Context, caller *sql.Tx, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	return b.inTx(ctx, caller, "seal gates", func(t *tx) error {
		found, err := t.ids(lockGates, valuesOf(ids))
		if err != nil {
			return err
		}
		for _, id := range ids {
			if !slices.Contains(found, id) {
				return rejected{fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)}
			}
			t.tally(id, lifecycle.Tally{})
		}
		return t.later(sealGates, idList(ids))
	})
}

// Gates implements [backend.GateStore]. The counts have the changes that are not folded.
func (b *Backend) Gates(ctx context.Context, query backend.GateQuery) (infos []backend.GateInfo, err error) {
	limit, err := check.Gates(query)
	if err != nil {
		return nil, fmt.Errorf("mysql: gates: %w", err)
	}
	c := condition{order: `g.id`}
	c.and(`g.id < ?`, cmp.Or(query.Before, math.MaxInt64))
	if query.IDs != nil {
		c.and(`g.id IN (?)`, idList(append(query.IDs[:len(query.IDs):len(query.IDs)], 0))) // no gate has the ID 0
	}
	if query.Parent != 0 {
		c.and(`g.parent = ?`, max(query.Parent, 0))
		c.and(`g.parent > 0`)
	}
	if !query.Needs && query.IDs == nil && query.Parent == 0 {
		c.and(`g.listed = 1`)
	}
	if query.Open {
		c.and(`g.ended_at = 0`)
	}
	where, args := c.page(limit)
	err = b.read(ctx, "gates", func(q querier) error {
		infos = nil
		return b.scan(ctx, q, selectGates+where, args, func(r *sql.Rows) error {
			var g sqlstore.Gate
			var change lifecycle.Tally
			var info backend.GateInfo
			err := r.Scan(append(g.Fields(), &change.Total, &change.Open, &change.Done, &change.Failed, &change.Cancelled, &info.Waiting, &info.Awaiting)...)
			infos = append(infos, g.Info(change, info))
			return err
		})
	})
	return infos, err
}

// isOver tells in SQL whether a gate g has ended and let its waiters through. Of EXISTS the server
// may make a join that reads all waiters.
const isOver = `g.ended_at > 0
	AND (SELECT 1 FROM plainjobs_gate_waiter w FORCE INDEX (gate_waiter_waits) WHERE w.gate = g.id AND w.waits = 1 LIMIT 1) IS NULL
	AND (SELECT 1 FROM plainjobs_gate_await a FORCE INDEX (gate_await_hub) WHERE a.hub = g.id LIMIT 1) IS NULL`

var lockOver = `SELECT g.id FROM ` + joinGates + ` WHERE ` + isOver + ` FOR UPDATE`

// deleteGates are the statements that delete gates.
var deleteGates = []string{
	`DELETE FROM plainjobs_gate_member WHERE gate IN (?)`, `DELETE FROM plainjobs_gate_waiter WHERE gate IN (?)`,
	`DELETE FROM plainjobs_gate_change WHERE gate IN (?)`, `DELETE FROM plainjobs_gate_await WHERE gate IN (?)`,
	`UPDATE plainjobs_job_gate SET parent = 0 WHERE parent IN (?)`, `DELETE FROM plainjobs_job_gate WHERE id IN (?)`,
}

// DeleteGates implements [backend.GateStore].
func (b *Backend) DeleteGates(ctx context.Context, ids []int64) (deleted []int64, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = b.write(ctx, "delete gates", func(t *tx) (err error) {
		deleted, err = t.deleteGates(ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

// deleteGates deletes those of the gates that are over. Their jobs forget them.
func (t *tx) deleteGates(ids []int64) (deleted []int64, err error) {
	deleted, err = t.ids(lockOver, valuesOf(slices.Compact(slices.Sorted(slices.Values(ids)))))
	if err != nil || len(deleted) == 0 {
		return deleted, err
	}
	slices.Sort(deleted)
	for _, query := range deleteGates {
		if err := t.later(query, idList(deleted)); err != nil {
			return nil, err
		}
	}
	return deleted, nil
}
