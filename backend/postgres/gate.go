package postgres

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
	drawGateIDs = `SELECT nextval('plainjobs.job_gate_id_seq') FROM generate_series(1, $1::bigint)`

	insertGates = `
		INSERT INTO plainjobs.job_gate (id, label, parent, total, open, done, failed, cancelled, sealed, fired, created_at, ended_at, deadline, swept, passing,
			kind, awaits, paused)
		OVERRIDING SYSTEM VALUE
		SELECT v.id, v.label, v.parent, v.total, v.open, v.done, v.failed, v.cancelled, v.sealed, v.fired, v.created_at, v.ended_at, v.deadline,
			CASE WHEN v.deadline <> 0 AND v.ended_at = 0 THEN 0 END, v.passing, v.kind, v.awaits, v.paused::integer
		FROM unnest($1::text::bigint[], $2::text::text[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
			$7::text::bigint[], $8::text::bigint[], $9::text::boolean[], $10::text::boolean[], $11::text::bigint[], $12::text::bigint[],
			$13::text::bigint[], $14::text::boolean[], $15::text::smallint[], $16::text::bigint[], $17::text::boolean[])
			AS v(id, label, parent, total, open, done, failed, cancelled, sealed, fired, created_at, ended_at, deadline, passing, kind, awaits, paused)`

	insertAwaits = `INSERT INTO plainjobs.gate_await (gate, hub) SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[])`

	sealGates = `UPDATE plainjobs.job_gate SET sealed = true WHERE id = $1::bigint`

	selectGates = `
		SELECT ` + sqlstore.GateColumns + `, c.total, c.open, c.done, c.failed, c.cancelled,
			(SELECT count(*) FROM plainjobs.gate_waiter w WHERE w.gate = g.id AND w.waits),
			EXISTS (SELECT 1 FROM plainjobs.gate_await a WHERE a.gate = g.id), g.paused = 1
		FROM plainjobs.job_gate g
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(x.total), 0)::bigint AS total, coalesce(sum(x.open), 0)::bigint AS open, coalesce(sum(x.done), 0)::bigint AS done,
				coalesce(sum(x.failed), 0)::bigint AS failed, coalesce(sum(x.cancelled), 0)::bigint AS cancelled
			FROM plainjobs.gate_change x WHERE x.gate = g.id) c
		WHERE `
)

// inTx runs f in the caller's transaction, or in one of the store if that is nil. Then
// gates that f changed are folded.
func (b *Backend) inTx(ctx context.Context, caller *sql.Tx, op string, f func(*tx) error) error {
	if caller != nil {
		return b.within(ctx, caller, op, f)
	}
	var gates []int64
	err := b.write(ctx, op, b.durable(), func(t *tx) error {
		err := f(t)
		gates = t.gates.TakeFolds()
		return err
	})
	if err == nil {
		b.foldAfter(ctx, gates)
	}
	return err
}

// CreateGates implements [backend.GateStore].
func (b *Backend) CreateGates(ctx context.Context, caller *sql.Tx, req backend.GateRequest) (result backend.GateResult, err error) {
	if err := check.CreateGates(b.Describe(), req); err != nil {
		return result, fmt.Errorf("postgres: create gates: %w", err)
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
	err = t.each(drawGateIDs, []any{len(req.Gates)}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		result.Gates = append(result.Gates, id)
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(result.Gates)
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
	refused, err := t.lockGates(parents)
	if err != nil {
		return err
	}
	for i := range req.Gates {
		if err := refused[req.Gates[i].Parent]; err != nil {
			return rejected{fmt.Errorf("gate %d: parent: %w", i, err)}
		}
	}
	if err := t.inheritPauses(rows, req.Gates, parents); err != nil {
		return err
	}
	for i := range rows {
		if rows[i].Parent != 0 {
			t.tally(rows[i].Parent, lifecycle.Joined(backend.Pending))
		}
		if rows[i].Awaits != 0 {
			t.tally(rows[i].ID, lifecycle.Joined(backend.Pending))
		}
	}
	if len(req.Jobs) > 0 {
		if result.Jobs, err = t.push(sqlstore.Resolve(req.Jobs, resolve)); err != nil {
			return err
		}
	} else {
		result.Jobs = []backend.Pushed{}
	}
	return t.insertGates(rows, req.Gates, now)
}

// insertGates stores new gates.
func (t *tx) insertGates(rows []sqlstore.Gate, from []backend.NewGate, now int64) error {
	awaiting, hubs := t.gates.CountNew(rows, from, now)
	if err := t.insertGateRows(rows); err != nil {
		return err
	}
	return t.insertAwaits(awaiting, hubs)
}

func (t *tx) insertGateRows(rows []sqlstore.Gate) error {
	if len(rows) == 0 {
		return nil
	}
	var c tallyColumns
	n := len(rows)
	labels, kinds := make([]string, n), make([]backend.GateKind, n)
	sealed, fired, passing, pauses := make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
	parents, created, ended, deadlines, awaits := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i := range rows {
		g := &rows[i]
		c.add(g.ID, g.Tally)
		pauses[i] = g.Paused
		labels[i], kinds[i], sealed[i], fired[i], passing[i] = g.Label, g.Kind, g.Sealed, g.Fired, g.Passes()
		parents[i], created[i], ended[i], deadlines[i], awaits[i] = g.Parent, g.Created, g.EndedAt, g.Deadline, g.Awaits
	}
	_, err := t.exec(insertGates, intArray(c.ids), textArray(labels), intArray(parents), intArray(c.totals), intArray(c.opens), intArray(c.dones),
		intArray(c.faileds), intArray(c.cancelleds), boolArray(sealed), boolArray(fired), intArray(created), intArray(ended), intArray(deadlines),
		boolArray(passing), intArray(kinds), intArray(awaits), boolArray(pauses))
	return err
}

func (t *tx) insertAwaits(gates, hubs []int64) error {
	if len(gates) == 0 {
		return nil
	}
	_, err := t.exec(insertAwaits, intArray(gates), intArray(hubs))
	return err
}

// SealGates implements [backend.GateStore]. It waits for transactions that add to the
// gates.
func (b *Backend) SealGates(ctx context.Context, caller *sql.Tx, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	return b.inTx(ctx, caller, "seal gates", func(t *tx) error {
		for _, id := range ids {
			n, err := t.execN(sealGates, id)
			if err == nil && n == 0 {
				err = rejected{fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)}
			}
			if err != nil {
				return err
			}
			t.tally(id, lifecycle.Tally{})
		}
		return nil
	})
}

// Gates implements [backend.GateStore]. The counts have the changes that are not folded.
func (b *Backend) Gates(ctx context.Context, query backend.GateQuery) (infos []backend.GateInfo, err error) {
	limit, err := check.Gates(query)
	if err != nil {
		return nil, fmt.Errorf("postgres: gates: %w", err)
	}
	c := condition{}.and(`g.id < %s::bigint`, cmp.Or(query.Before, math.MaxInt64))
	if query.IDs != nil {
		c = c.and(`g.id = ANY(%s::text::bigint[])`, intArray(query.IDs))
	}
	if query.Parent != 0 {
		c = c.and(`g.parent = %s::bigint AND g.parent > 0`, query.Parent)
	}
	if !query.Needs && query.IDs == nil && query.Parent == 0 {
		c = c.and(`g.kind < 2`)
	}
	if query.Open {
		c = c.and(`g.ended_at = 0`)
	}
	where, args := c.pageOf("g.id", limit)
	err = b.read(ctx, "gates", func(q querier) error {
		infos = nil
		return b.scan(ctx, q, selectGates+where, args, func(r *sql.Rows) error {
			var g sqlstore.Gate
			var change lifecycle.Tally
			var info backend.GateInfo
			err := r.Scan(append(g.Fields(), &change.Total, &change.Open, &change.Done, &change.Failed, &change.Cancelled, &info.Waiting, &info.Awaiting, &g.Paused)...)
			infos = append(infos, g.Info(change, info))
			return err
		})
	})
	return infos, err
}

const (
	// Those of the gates that have ended and let their waiters through.
	lockOver = `
		SELECT g.id FROM plainjobs.job_gate g WHERE g.id = ANY($1::text::bigint[]) AND g.ended_at > 0
			AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_waiter w WHERE w.gate = g.id AND w.waits)
			AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_await a WHERE a.hub = g.id) ORDER BY g.id FOR UPDATE OF g`

	deleteGates = `
		WITH m AS (DELETE FROM plainjobs.gate_member WHERE gate = ANY($1::text::bigint[])),
			w AS (DELETE FROM plainjobs.gate_waiter WHERE gate = ANY($1::text::bigint[])),
			c AS (DELETE FROM plainjobs.gate_change WHERE gate = ANY($1::text::bigint[])),
			a AS (DELETE FROM plainjobs.gate_await WHERE gate = ANY($1::text::bigint[])),
			i AS (UPDATE plainjobs.job_gate SET parent = 0 WHERE parent = ANY($1::text::bigint[]) AND parent > 0 AND id <> ALL($1::text::bigint[]))
		DELETE FROM plainjobs.job_gate WHERE id = ANY($1::text::bigint[])`
)

// DeleteGates implements [backend.GateStore].
func (b *Backend) DeleteGates(ctx context.Context, ids []int64) (deleted []int64, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = b.write(ctx, "delete gates", b.durable(), func(t *tx) (err error) {
		deleted, err = t.deleteGates(lockOver, intArray(ids))
		return err
	})
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

// deleteGates deletes the gates that a query locks. Their jobs forget them.
func (t *tx) deleteGates(query string, args ...any) (deleted []int64, err error) {
	deleted, err = t.ids(query, args...)
	if err == nil && len(deleted) > 0 {
		_, err = t.exec(deleteGates, intArray(deleted))
	}
	return deleted, err
}

// ids returns the IDs that a query finds.
func (t *tx) ids(query string, args ...any) (ids []int64, err error) {
	err = t.each(query, args, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}
