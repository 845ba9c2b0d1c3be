package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A pause says whether a gate is paused.
type pause int64

const (
	running pause = iota
	paused
	resumed // the jobs that were blocked are being released
)

const updatePause = `
	UPDATE plainjobs_job_gate SET paused = CASE WHEN (?1+0) = 1 THEN 1 WHEN paused > 0 THEN 2 ELSE 0 END WHERE id = ?2`

// PauseGates implements [backend.GateStore].
func (b *Backend) PauseGates(ctx context.Context, ids []int64, pause bool) error {
	if len(ids) == 0 {
		return nil
	}
	return b.inTx(ctx, nil, "pause gates", func(t *tx) error {
		for _, id := range ids {
			n, err := t.execN(updatePause, pause, id)
			if err == nil && n == 0 {
				err = fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)
			}
			if err != nil {
				return err
			}
			if !pause {
				b.tally(t, id, lifecycle.Tally{})
			}
		}
		return nil
	})
}

// pausesOf returns the pauses of new gates: those of their parents.
func (t *tx) pausesOf(gates []backend.NewGate) ([]pause, error) {
	all := make([]pause, len(gates))
	for i := range gates {
		switch parent := gates[i].Parent; {
		case parent < 0:
			all[i] = all[-1-parent]
		case parent > 0:
			g, err := t.gate(parent)
			if err != nil {
				return nil, err
			}
			if g.pause == paused {
				all[i] = paused
			}
		}
	}
	return all, nil
}

const (
	selectSomePaused = `SELECT 1 FROM plainjobs_job_gate INDEXED BY plainjobs_job_gate_paused WHERE paused = 1 LIMIT 1`

	selectReleased = `
		SELECT j.id FROM plainjobs_job j INDEXED BY plainjobs_job_held
		WHERE j.state = 2 AND j.flags & 262144 <> 0 AND EXISTS (SELECT 1 FROM plainjobs_gate_member m WHERE m.job = j.id AND m.gate = (?+0))
			AND NOT EXISTS (SELECT 1 FROM plainjobs_gate_member m JOIN plainjobs_job_gate g ON g.id = m.gate WHERE m.job = j.id AND g.paused = 1)
		ORDER BY j.id LIMIT (?+0)`
)

var selectPausedOf = newList(`
	SELECT DISTINCT m.job FROM plainjobs_gate_member m JOIN plainjobs_job_gate g ON g.id = m.gate WHERE g.paused = 1 AND m.job IN (`, `?`, `)`)

// holdPaused takes members of paused gates out of the claim, blocks them, and returns their
// number. One claim blocks at most maxAdmitted. It ends before the next, and a later claim
// continues.
func (c *claim) holdPaused() (n int, err error) {
	var members []int64
	for i, f := range c.flags {
		if f&flagMember != 0 {
			members = append(members, c.jobs[i].ID)
		}
	}
	some := false
	if len(members) > 0 {
		err = c.t.each(selectSomePaused, nil, func(*sql.Rows) (bool, error) { some = true; return false, nil })
	}
	if err != nil || !some {
		return 0, err
	}
	paused := map[int64]bool{}
	for part := range slices.Chunk(members, maxList) {
		query, length := selectPausedOf.fit(len(part))
		err := c.t.each(query, appendIDs(nil, part, length), func(r *sql.Rows) (bool, error) {
			var id int64
			err := r.Scan(&id)
			paused[id] = true
			return true, err
		})
		if err != nil {
			return 0, err
		}
	}
	for i := range c.jobs {
		switch id := c.jobs[i].ID; {
		case !paused[id]:
		case c.held == maxAdmitted:
			if n == 0 {
				c.truncate(i)
			}
			return n, nil
		default:
			if err := c.b.hold(c.t, id, c.now); err != nil {
				return n, err
			}
			c.held++
			n++
		}
	}
	return n, nil
}

// hold blocks a pending job, which leaves its serial key to the next one.
func (b *Backend) hold(t *tx, id, now int64) error {
	r, err := t.row(id)
	if err != nil {
		return err
	}
	r.flags |= flagBehind | flagHeld
	if err := b.put(t, r, r.Hold(), now); err != nil {
		return err
	}
	return t.advance(r.jobKeys, now)
}

// releaseHeld makes jobs of a gate wait as before, which was paused, and reports whether some
// are left for another transaction.
func (b *Backend) releaseHeld(t *tx, gate, now int64) (more bool, err error) {
	var ids []int64
	err = t.each(selectReleased, []any{gate, t.gates.left + 1}, func(r *sql.Rows) (bool, error) {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return true, err
	})
	if err != nil {
		return false, err
	}
	if more = len(ids) > t.gates.left; more {
		ids = ids[:t.gates.left]
	}
	t.gates.left -= len(ids)
	for _, id := range ids {
		r, err := t.row(id)
		if err != nil {
			return false, err
		}
		if err := b.letGo(t, r, now); err != nil {
			return false, err
		}
	}
	return more, nil
}

// letGo makes a blocked job, which has no gate to wait for, wait for its turn.
func (b *Backend) letGo(t *tx, r row, now int64) error {
	if err := t.comeForward(&r); err != nil {
		return err
	}
	next := r.Ready(now)
	blocked, err := t.queueUp(r.jobKeys)
	if err != nil {
		return err
	}
	if blocked {
		next.State = backend.Blocked
	}
	return b.put(t, r, next, now)
}
