package mysql

import (
	"database/sql"
	"maps"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	insertMembers = `INSERT IGNORE INTO plainjobs_gate_member (job, gate) VALUES `
	insertWaiters = `INSERT INTO plainjobs_gate_waiter (job, gate, cond, waits, delay, expires) VALUES `
	updateWaiter  = `UPDATE plainjobs_gate_waiter SET delay = ?, expires = ? WHERE job = ?`
)

var (
	updateMember   = `UPDATE ` + joinJobs + ` SET j.flags = j.flags | 256`
	selectBehindOf = `SELECT w.job, w.gate FROM ` + joinWaiters
)

// lockGates locks the gates of the batch, and returns an error if one takes no more jobs.
func (p *push) lockGates() error {
	var stored []int64
	if stored, p.gated = p.t.gates.Stored(p.jobs); len(stored) == 0 {
		return nil
	}
	refused, err := p.t.shareGates(stored)
	if err != nil {
		return err
	}
	if err := sqlstore.RefusedJob(p.jobs, refused); err != nil {
		return rejected{err}
	}
	return nil
}

// join makes the added jobs, and the stored jobs of duplicates, members and waiters of their
// gates.
func (p *push) join() error {
	if !p.gated {
		return nil
	}
	if err := p.joinStored(); err != nil {
		return err
	}
	joined := lifecycle.Joined(backend.Pending) // or another state in which it has not ended
	members, waiters := insert{head: insertMembers}, insert{head: insertWaiters}
	for _, i := range p.added {
		j := &p.jobs[i]
		if j.Gating == nil {
			continue
		}
		for _, id := range j.Gating.Gates {
			if err := members.add(p.t, p.id(i), id); err != nil {
				return err
			}
			p.t.tally(id, joined)
		}
		if j.Gating.Gate != 0 {
			err := waiters.add(p.t, p.id(i), j.Gating.Gate, int64(j.Gating.When), true, j.Delay.Microseconds(), j.Expires.Microseconds())
			if err != nil {
				return err
			}
			p.t.tally(j.Gating.Gate, lifecycle.Tally{}) // the condition may hold already
		}
	}
	if err := members.flush(p.t); err != nil {
		return err
	}
	return waiters.flush(p.t)
}

// joinStored makes stored jobs members of the gates of their duplicates. A gate counts a job
// that has ended by its state, so the job is locked.
func (p *push) joinStored() error {
	if len(p.joins) == 0 {
		return nil
	}
	var late []int64 // holders that took the key after lockStored
	for _, i := range p.joins {
		if id := p.pushed[i].ID; p.locked[id] == nil {
			late = append(late, id)
		}
	}
	rows, err := p.t.lock(late)
	if err != nil {
		return err
	}
	maps.Copy(rows, p.locked)
	behind, err := p.t.behind(rows)
	if err != nil {
		return err
	}
	known := map[[2]int64]bool{}
	err = p.t.each(lockMembership, []any{valuesOf(sqlstore.Sorted(rows))}, func(r *sql.Rows) error {
		var m [2]int64
		err := r.Scan(&m[0], &m[1])
		known[m] = true
		return err
	})
	if err != nil {
		return err
	}
	var jobs values
	members := insert{head: insertMembers}
	for _, i := range p.joins {
		id := p.pushed[i].ID
		for _, gate := range p.jobs[i].Gating.Gates {
			if m := [2]int64{id, gate}; rows[id] != nil && gate != behind[id] && !known[m] {
				known[m] = true
				if err := members.add(p.t, id, gate); err != nil {
					return err
				}
				jobs.add(id)
				rows[id].flags |= flagMember
				p.t.tally(gate, lifecycle.Joined(rows[id].State))
			}
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	if err := members.flush(p.t); err != nil {
		return err
	}
	return p.t.later(updateMember, jobs)
}

// behind returns the gates behind which locked jobs wait.
func (t *tx) behind(rows map[int64]*row) (map[int64]int64, error) {
	var ids values
	for _, id := range sqlstore.Sorted(rows) {
		if rows[id].flags&flagBehind != 0 {
			ids.add(id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	gates := map[int64]int64{}
	err := t.each(t.current(selectBehindOf), []any{ids}, func(r *sql.Rows) error {
		var job, gate int64
		err := r.Scan(&job, &gate)
		gates[job] = gate
		return err
	})
	return gates, err
}
