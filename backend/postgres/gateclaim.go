package postgres

import (
	"context"
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
)

// They mark claimed jobs whose gates are to be read: of members only, and of jobs that
// have waited behind a gate.
var (
	unreadMember = &backend.Gating{}
	unreadWaiter = &backend.Gating{}
)

// unreadGating returns the mark for a job with flags, or nil.
func unreadGating(flags flag) *backend.Gating {
	switch {
	case flags&flagWaiter != 0:
		return unreadWaiter
	case flags&flagMember != 0:
		return unreadMember
	}
	return nil
}

// markPaused is in SQL the gate of a member m, or its negative if the gate is paused.
const markPaused = `CASE WHEN EXISTS (SELECT 1 FROM plainjobs.job_gate g WHERE g.id = m.gate AND g.paused = 1) THEN -m.gate ELSE m.gate END`

const (
	// Of the jobs, how many count in which gate. Each job is looked up by its ID: the index
	// by gate is in the order of the groups, but has to be read whole.
	selectShared = `
		SELECT ` + markPaused + `, count(*) FROM unnest($1::text::bigint[]) AS v(job)
		CROSS JOIN LATERAL (SELECT x.gate FROM plainjobs.gate_member x WHERE x.job = v.job OFFSET 0) m GROUP BY m.gate LIMIT 2`

	selectMembership = `SELECT m.job, ` + markPaused + ` FROM plainjobs.gate_member m WHERE m.job = ANY($1::text::bigint[]) ORDER BY m.job, m.gate`
	selectStood      = `SELECT job, gate, condition FROM plainjobs.gate_waiter WHERE job = ANY($1::text::bigint[])`
)

// readGatings reads the gates of claimed jobs. Jobs without gates cost no statement.
func (b *Backend) readGatings(ctx context.Context, jobs []backend.Job) ([]backend.Job, error) {
	var members, waiters []int64
	for i := range jobs {
		switch jobs[i].Gating {
		case unreadMember:
			members = append(members, jobs[i].ID)
		case unreadWaiter:
			waiters = append(waiters, jobs[i].ID)
		}
	}
	if len(members)+len(waiters) == 0 {
		return jobs, nil
	}
	all := map[int64]*backend.Gating{}
	err := b.read(ctx, "claim", func(q querier) error {
		clear(all)
		done, err := b.sharedGate(ctx, q, members, all)
		if done {
			members = nil
		}
		if err == nil {
			err = b.membership(ctx, q, append(members, waiters...), all)
		}
		if err == nil && len(waiters) > 0 {
			err = b.scan(ctx, q, selectStood, []any{intArray(waiters)}, func(r *sql.Rows) error {
				var job int64
				var g backend.Gating
				err := r.Scan(&job, &g.Gate, &g.When)
				gatingIn(all, job).Gate, gatingIn(all, job).When = g.Gate, g.When
				return err
			})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range jobs {
		if jobs[i].Gating != nil {
			jobs[i].Gating = all[jobs[i].ID]
		}
	}
	return jobs, nil
}

// sharedGate gives jobs one Gating if all count in one gate: members of a group are pushed
// together, and one row is read for all of them. It reports whether it has.
func (b *Backend) sharedGate(ctx context.Context, q querier, ids []int64, all map[int64]*backend.Gating) (done bool, err error) {
	if len(ids) < 2 {
		return false, nil
	}
	var gates []int64
	members := 0
	err = b.scan(ctx, q, selectShared, []any{intArray(ids)}, func(r *sql.Rows) error {
		var gate int64
		err := r.Scan(&gate, &members)
		gates = append(gates, gate)
		return err
	})
	if err != nil || len(gates) != 1 || members != len(ids) {
		return false, err
	}
	shared := &backend.Gating{Gates: gates}
	for _, id := range ids {
		all[id] = shared
	}
	return true, nil
}

// membership reads the gates in which jobs count.
func (b *Backend) membership(ctx context.Context, q querier, ids []int64, all map[int64]*backend.Gating) error {
	if len(ids) == 0 {
		return nil
	}
	return b.scan(ctx, q, selectMembership, []any{intArray(ids)}, func(r *sql.Rows) error {
		var job, gate int64
		err := r.Scan(&job, &gate)
		g := gatingIn(all, job)
		g.Gates = append(g.Gates, gate)
		return err
	})
}

// gatingIn returns the Gating of a job, and allocates it if needed.
func gatingIn(all map[int64]*backend.Gating, job int64) *backend.Gating {
	if all[job] == nil {
		all[job] = &backend.Gating{}
	}
	return all[job]
}
