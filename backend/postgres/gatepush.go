package postgres

import (
	"database/sql"
	"maps"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	insertMembers = `
		INSERT INTO plainjobs.gate_member (job, gate)
		SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[]) ON CONFLICT DO NOTHING RETURNING job, gate`
	insertWaiters = `
		INSERT INTO plainjobs.gate_waiter (job, gate, condition, waits, delay, expires)
		SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::smallint[], $4::text::boolean[], $5::text::bigint[], $6::text::bigint[])`

	updateWaiter = `UPDATE plainjobs.gate_waiter SET delay = $2::bigint, expires = $3::bigint WHERE job = $1::bigint`
	updateMember = `UPDATE plainjobs.job SET flags = flags | 256 WHERE id = ANY($1::text::bigint[]) AND flags & 256 = 0`
)

// lockGates locks the gates of the batch, and returns an error if one takes no more jobs.
func (p *push) lockGates() error {
	var stored []int64
	if stored, p.gated = p.t.gates.Stored(p.jobs); len(stored) == 0 {
		return nil
	}
	refused, err := p.t.lockGates(stored)
	if err != nil {
		return err
	}
	if err := sqlstore.RefusedJob(p.jobs, refused); err != nil {
		return rejected{err}
	}
	return nil
}

// join makes the added jobs, and the stored jobs of duplicates, members and waiters of
// their gates.
func (p *push) join() error {
	if !p.gated {
		return nil
	}
	if err := p.joinStored(); err != nil {
		return err
	}
	joined := lifecycle.Joined(backend.Pending) // or another state in which it has not ended
	var jobs, gates []int64
	var w waiterColumns
	for _, i := range p.added {
		j := &p.jobs[i]
		if j.Gating == nil {
			continue
		}
		for _, id := range j.Gating.Gates {
			jobs, gates = append(jobs, p.ids[i]), append(gates, id)
			p.t.tally(id, joined)
		}
		if j.Gating.Gate != 0 {
			w.add(p.ids[i], j.Gating, true, j.Delay.Microseconds(), j.Expires.Microseconds())
			p.t.tally(j.Gating.Gate, lifecycle.Tally{}) // the condition may hold already
		}
	}
	if len(jobs) > 0 {
		if _, err := p.t.exec(insertMembers, intArray(jobs), intArray(gates)); err != nil {
			return err
		}
	}
	return p.t.insertWaiters(&w)
}

// waiterColumns are rows of gate_waiter. Times are in microseconds.
type waiterColumns struct {
	jobs, gates     []int64
	conditions      []backend.When
	waits           []bool
	delays, expires []int64
}

func (w *waiterColumns) add(job int64, g *backend.Gating, waits bool, delay, expires int64) {
	w.jobs, w.gates, w.conditions, w.waits = append(w.jobs, job), append(w.gates, g.Gate), append(w.conditions, g.When), append(w.waits, waits)
	w.delays, w.expires = append(w.delays, delay), append(w.expires, expires)
}

func (t *tx) insertWaiters(w *waiterColumns) error {
	if len(w.jobs) == 0 {
		return nil
	}
	_, err := t.exec(insertWaiters, intArray(w.jobs), intArray(w.gates), intArray(w.conditions), boolArray(w.waits), intArray(w.delays), intArray(w.expires))
	return err
}

// joinStored makes stored jobs members of the gates of their duplicates. A gate counts a
// job that has ended by its state, so the job is locked.
func (p *push) joinStored() error {
	var late []int64 // holders that took the key after lockStored
	for _, i := range p.joins {
		if id := p.pushed[i].ID; p.locked[id] == nil {
			late = append(late, id)
		}
	}
	rows := p.locked
	if len(late) > 0 {
		more, err := p.t.lock(late)
		if err != nil {
			return err
		}
		maps.Copy(more, rows)
		rows = more
	}
	behind, err := p.t.behind(rows)
	if err != nil {
		return err
	}
	var jobs, gates []int64
	for _, i := range p.joins {
		id := p.pushed[i].ID
		for _, gate := range p.jobs[i].Gating.Gates {
			if rows[id] != nil && gate != behind[id] {
				jobs, gates = append(jobs, id), append(gates, gate)
			}
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	err = p.t.each(insertMembers, []any{intArray(jobs), intArray(gates)}, func(r *sql.Rows) error {
		var job, gate int64
		err := r.Scan(&job, &gate)
		if err == nil {
			p.t.tally(gate, lifecycle.Joined(rows[job].State))
		}
		return err
	})
	if err == nil {
		_, err = p.t.exec(updateMember, intArray(jobs))
	}
	return err
}

// behind returns the gates behind which locked jobs wait.
func (t *tx) behind(rows map[int64]*row) (map[int64]int64, error) {
	var ids []int64
	for id, r := range rows {
		if r.flags&flagBehind != 0 {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	gates := map[int64]int64{}
	err := t.each(selectBehindOf, []any{intArray(ids)}, func(r *sql.Rows) error {
		var job, gate int64
		err := r.Scan(&job, &gate)
		gates[job] = gate
		return err
	})
	return gates, err
}

const selectBehindOf = `SELECT job, gate FROM plainjobs.gate_waiter WHERE job = ANY($1::text::bigint[])`
