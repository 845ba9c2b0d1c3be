package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const gateColumns = `g.id, g.label, g.parent, g.total, g.open, g.done, g.failed, g.cancelled, g.sealed, g.fired, g.created_at, g.ended_at, g.deadline`

// A gateRow is a stored gate.
type gateRow struct {
	lifecycle.Gate
	id, parent, created int64
	label               string
}

// fields are where the columns of gateColumns are scanned.
func (g *gateRow) fields() []any {
	return []any{&g.id, &g.label, &g.parent, &g.Total, &g.Open, &g.Done, &g.Failed, &g.Cancelled, &g.Sealed, &g.Fired, &g.created, &g.EndedAt, &g.Deadline}
}

const (
	drawGateIDs = `SELECT nextval('plainjobs.job_gate_id_seq') FROM generate_series(1, $1::bigint)`

	insertGate = `
		INSERT INTO plainjobs.job_gate (id, label, parent, total, open, done, failed, cancelled, sealed, fired, created_at, ended_at, deadline, swept, passing)
		OVERRIDING SYSTEM VALUE
		VALUES ($1::bigint, $2::text, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::boolean, $10::boolean, $11::bigint,
			$12::bigint, $13::bigint, CASE WHEN $13::bigint <> 0 AND $12::bigint = 0 THEN 0 END, $14::boolean)`

	sealGates = `UPDATE plainjobs.job_gate SET sealed = true WHERE id = $1::bigint`

	selectGates = `
		SELECT ` + gateColumns + `, c.total, c.open, c.done, c.failed, c.cancelled,
			(SELECT count(*) FROM plainjobs.gate_waiter w WHERE w.gate = g.id AND w.waits)
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
		gates = t.takeFolds()
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
	if slices.ContainsFunc(req.Gates, func(g backend.NewGate) bool { return g.Kind != backend.GroupGate }) {
		return result, fmt.Errorf("postgres: create gates: %w: the store keeps no gates of flows", errors.ErrUnsupported)
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
	rows := make([]gateRow, len(req.Gates))
	var parents []int64
	for i := range req.Gates {
		n := &req.Gates[i]
		rows[i] = gateRow{Gate: lifecycle.NewGate(n, now), id: result.Gates[i], label: n.Label, parent: resolve(n.Parent), created: now}
		t.gateWork().created[rows[i].id] = true
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
	for i := range rows {
		if rows[i].parent != 0 {
			t.tally(rows[i].parent, lifecycle.Joined(backend.Pending))
		}
	}
	if len(req.Jobs) > 0 {
		if result.Jobs, err = t.push(resolved(req.Jobs, resolve)); err != nil {
			return err
		}
	} else {
		result.Jobs = []backend.Pushed{}
	}
	return t.insertGates(rows, req.Gates, now)
}

// resolved returns jobs with the IDs of their gates.
func resolved(jobs []backend.NewJob, resolve func(int64) int64) []backend.NewJob {
	jobs = slices.Clone(jobs)
	for i := range jobs {
		if from := jobs[i].Gating; from != nil {
			g := backend.Gating{Gates: slices.Clone(from.Gates), Gate: resolve(from.Gate), When: from.When}
			for at := range g.Gates {
				g.Gates[at] = resolve(g.Gates[at])
			}
			jobs[i].Gating = &g
		}
	}
	return jobs
}

// insertGates stores new gates, inner ones first: one that ends counts in its parent. A
// fold looks at the waiters of those that have ended or have a failed member.
func (t *tx) insertGates(rows []gateRow, from []backend.NewGate, now int64) error {
	for i := range slices.Backward(rows) {
		g := &rows[i]
		g.Sealed = from[i].Sealed
		g.Gate = g.Count(t.gates.tallies[g.id], now)
		delete(t.gates.tallies, g.id)
		delete(t.gates.created, g.id)
		if g.EndedAt != 0 && g.parent != 0 {
			t.tally(g.parent, lifecycle.Moved(backend.Pending, g.State()))
		}
		passing := g.EndedAt != 0 || g.Fired
		if passing {
			t.gates.folds[g.id] = true
		}
		_, err := t.exec(insertGate, g.id, g.label, g.parent, g.Total, g.Open, g.Done, g.Failed, g.Cancelled, g.Sealed, g.Fired, g.created,
			g.EndedAt, g.Deadline, passing)
		if err != nil {
			return err
		}
	}
	return nil
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
	if query.Open {
		c = c.and(`g.ended_at = 0`)
	}
	where, args := c.pageOf("g.id", limit)
	err = b.read(ctx, "gates", func(q querier) error {
		infos = nil
		return b.scan(ctx, q, selectGates+where, args, func(r *sql.Rows) error {
			var g gateRow
			var change lifecycle.Tally
			var info backend.GateInfo
			err := r.Scan(append(g.fields(), &change.Total, &change.Open, &change.Done, &change.Failed, &change.Cancelled, &info.Waiting)...)
			if g.EndedAt == 0 {
				g.Tally = g.Plus(change)
				g.Fired = g.Fired || g.Failed > 0
			}
			info.ID, info.Label, info.Parent, info.CreatedAt = g.id, g.label, g.parent, instant(g.created)
			g.FillGate(&info)
			infos = append(infos, info)
			return err
		})
	})
	return infos, err
}

const (
	// Those of the gates that have ended and let their waiters through.
	lockOver = `
		SELECT g.id FROM plainjobs.job_gate g WHERE g.id = ANY($1::text::bigint[]) AND g.ended_at > 0
			AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_waiter w WHERE w.gate = g.id AND w.waits) ORDER BY g.id FOR UPDATE OF g`

	deleteGates = `
		WITH m AS (DELETE FROM plainjobs.gate_member WHERE gate = ANY($1::text::bigint[])),
			w AS (DELETE FROM plainjobs.gate_waiter WHERE gate = ANY($1::text::bigint[])),
			c AS (DELETE FROM plainjobs.gate_change WHERE gate = ANY($1::text::bigint[])),
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
