package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A pause says whether a gate is paused.
type pause int16

const (
	running pause = iota
	paused
	resumed // the jobs that were blocked are being released
)

const updatePause = `
	UPDATE plainjobs.job_gate SET paused = CASE WHEN $2::boolean THEN 1 WHEN paused > 0 THEN 2 ELSE 0 END WHERE id = $1::bigint`

// PauseGates implements [backend.GateStore]. It waits for claims that block members of the
// gates.
func (b *Backend) PauseGates(ctx context.Context, ids []int64, pause bool) error {
	if len(ids) == 0 {
		return nil
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	return b.inTx(ctx, nil, "pause gates", func(t *tx) error {
		for _, id := range ids {
			n, err := t.execN(updatePause, id, pause)
			if err == nil && n == 0 {
				err = rejected{fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)}
			}
			if err != nil {
				return err
			}
			if !pause {
				t.tally(id, lifecycle.Tally{})
			}
		}
		return nil
	})
}

const sharePaused = `SELECT id FROM plainjobs.job_gate WHERE id = ANY($1::text::bigint[]) AND paused = 1 ORDER BY id FOR SHARE`

// inheritPauses pauses new gates whose parents are paused. parents are the stored ones, which
// are locked.
func (t *tx) inheritPauses(rows []sqlstore.Gate, from []backend.NewGate, parents []int64) error {
	if len(parents) == 0 {
		return nil
	}
	ids, err := t.ids(sharePaused, intArray(parents))
	for i := range rows {
		switch parent := from[i].Parent; {
		case parent > 0 && slices.Contains(ids, parent):
			rows[i].Paused = true
		case parent < 0:
			rows[i].Paused = rows[-1-parent].Paused
		}
	}
	return err
}

// unmarkPaused makes the IDs of the gates of claimed jobs positive, and returns those that were
// negative: these gates are paused.
func unmarkPaused(jobs []backend.Job) (paused map[int64]bool) {
	for i := range jobs {
		if jobs[i].Gating == nil {
			continue
		}
		gates := jobs[i].Gating.Gates // shared by many jobs
		for k, id := range gates {
			if id >= 0 {
				continue
			}
			if paused == nil {
				paused = map[int64]bool{}
			}
			paused[-id], gates[k] = true, -id
		}
	}
	return paused
}

// hold blocks the claimed jobs that count in paused gates, and returns the others. A job that
// is blocked leaves its serial key to the next one. If the process dies before, the jobs come
// back as those of a claim that did not return.
func (b *Backend) hold(ctx context.Context, jobs []backend.Job, pausedGates map[int64]bool) (left []backend.Job, err error) {
	var members []backend.Job
	for i := range jobs {
		if g := jobs[i].Gating; g != nil && slices.ContainsFunc(g.Gates, func(id int64) bool { return pausedGates[id] }) {
			members = append(members, jobs[i])
		} else {
			left = append(left, jobs[i])
		}
	}
	var held []backend.Lease
	still := map[int64]bool{}
	err = b.write(ctx, "claim", false, func(t *tx) error {
		held = nil
		clear(still)
		gates, err := t.ids(sharePaused, intArray(slices.Sorted(maps.Keys(pausedGates))))
		for _, id := range gates {
			still[id] = true
		}
		if err == nil {
			held, err = t.hold(slices.DeleteFunc(slices.Clone(members), func(j backend.Job) bool {
				return !slices.ContainsFunc(j.Gating.Gates, func(id int64) bool { return still[id] })
			}))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b.leases.Forget(held)
	for i := range members {
		if !slices.ContainsFunc(members[i].Gating.Gates, func(id int64) bool { return still[id] }) {
			left = append(left, members[i]) // its gates were resumed
		}
	}
	slices.SortFunc(left, inClaimOrder)
	return left, nil
}

// hold blocks claimed jobs, unless they are not leased any more, and returns their leases.
func (t *tx) hold(jobs []backend.Job) (leases []backend.Lease, err error) {
	now, err := t.now()
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	var ids []int64
	for i := range jobs {
		ids, leases = append(ids, jobs[i].ID), append(leases, jobs[i].Lease)
	}
	slices.Sort(ids)
	byID, err := t.lock(ids)
	if err != nil {
		return nil, err
	}
	var rows, blocked []*row
	for i := range jobs {
		j := &jobs[i]
		r := byID[j.ID]
		if r.judge(j.Token, 0) != lifecycle.Held {
			continue
		}
		r.become(r.Release(now))
		if r.State == backend.Pending {
			r.Job, r.flags = r.Hold(), r.flags|flagBehind|flagHeld
			if j.Expires != 0 {
				r.ExpiresAt = now + j.Expires.Microseconds()
			}
			blocked = append(blocked, r)
		}
		rows = append(rows, r)
	}
	if err := t.requeue(rows, now); err != nil {
		return nil, err
	}
	return leases, t.advance(blocked, now)
}

const selectReleased = `
	SELECT j.id FROM plainjobs.job j
	WHERE j.state = 2 AND j.flags & 262144 <> 0 AND EXISTS (SELECT 1 FROM plainjobs.gate_member m WHERE m.job = j.id AND m.gate = $1::bigint)
		AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_member m JOIN plainjobs.job_gate g ON g.id = m.gate WHERE m.job = j.id AND g.paused = 1)
	ORDER BY j.id LIMIT $2::bigint`

// release makes blocked jobs of a gate that was paused wait as before, at most limit, and
// returns how many it has looked at, and whether another transaction has locked some. If more
// are left, the gate is folded again.
func (t *tx) release(g *foldedGate, limit int) (seen int, locked bool, err error) {
	ids, err := t.ids(selectReleased, g.ID, max(0, limit))
	if err != nil {
		return 0, false, err
	}
	rows, err := t.rows(lockFree, intArray(ids))
	if err != nil {
		return 0, false, err
	}
	now, err := t.now()
	if err != nil {
		return 0, false, err
	}
	switch locked = len(rows) < len(ids); {
	case locked:
	case len(ids) >= limit:
		t.gateWork().Folds[g.ID] = true
	default:
		g.pause = running
	}
	rows = slices.DeleteFunc(rows, func(r *row) bool { return r.State != backend.Blocked || r.flags&flagHeld == 0 })
	for _, r := range rows {
		r.Job, r.flags = r.Ready(now), r.flags&^(flagBehind|flagHeld)
	}
	if err := t.joinSerial(rows); err != nil {
		return 0, false, err
	}
	return len(ids), locked, t.write(rows)
}
