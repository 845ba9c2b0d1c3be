package mysql

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var selectStood = `SELECT w.job, w.gate, w.cond, w.delay, w.expires FROM ` + joinWaiters

// A standing is the gates of a job, and what it keeps for the time when its condition holds.
type standing struct {
	gating         *backend.Gating
	delay, expires time.Duration
}

// gatings returns the gates of jobs: of members, and of jobs that wait, or have waited, behind a
// gate. Jobs that are read one after the other and count in the same gates share a Gating.
func (b *Backend) gatings(ctx context.Context, q reader, members, waiters []int64) (map[int64]standing, error) {
	all := map[int64]standing{}
	if len(members) > 0 {
		gates := map[int64][]int64{}
		err := b.scan(ctx, q, selectMembership, []any{valuesOf(members)}, func(r *sql.Rows) error {
			var job, gate int64
			err := r.Scan(&job, &gate)
			gates[job] = append(gates[job], gate)
			return err
		})
		if err != nil {
			return nil, err
		}
		shared := &backend.Gating{}
		for _, id := range members {
			if own := gates[id]; len(own) > 0 {
				if slices.Sort(own); !slices.Equal(own, shared.Gates) {
					shared = &backend.Gating{Gates: own}
				}
				all[id] = standing{gating: shared}
			}
		}
	}
	if len(waiters) == 0 {
		return all, nil
	}
	err := b.scan(ctx, q, selectStood, []any{valuesOf(waiters)}, func(r *sql.Rows) error {
		var job, delay, expires int64
		var g backend.Gating
		err := r.Scan(&job, &g.Gate, &g.When, &delay, &expires)
		if s := all[job].gating; s != nil {
			g.Gates = s.Gates
		}
		all[job] = standing{&g, time.Duration(delay) * time.Microsecond, time.Duration(expires) * time.Microsecond}
		return err
	})
	return all, err
}

// readGatings reads the gates of claimed jobs. Jobs without gates cost no statement.
func (c *claim) readGatings() error {
	if len(c.members) == 0 { // waiters are among them
		return nil
	}
	all, err := c.t.b.gatings(c.t.ctx, c.t, c.members, c.waiters)
	for i := range c.jobs {
		if s, ok := all[c.jobs[i].ID]; ok {
			c.jobs[i].Gating = s.gating
		}
	}
	return err
}

// addGatings adds their gates to jobs.
func (b *Backend) addGatings(ctx context.Context, q reader, jobs []jobRow) error {
	var members, waiters []int64
	for i := range jobs {
		if jobs[i].flags&flagMember != 0 {
			members = append(members, jobs[i].ID)
		}
		if jobs[i].flags&flagWaiter != 0 {
			waiters = append(waiters, jobs[i].ID)
		}
	}
	if len(members)+len(waiters) == 0 {
		return nil
	}
	all, err := b.gatings(ctx, q, members, waiters)
	for i := range jobs {
		jobs[i].standing = all[jobs[i].ID]
		jobs[i].Gating = jobs[i].standing.gating
	}
	return err
}

const (
	fromMembers = ` FROM plainjobs_gate_member m FORCE INDEX (gate_member_gate) STRAIGHT_JOIN plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = m.job`
	fromWaiters = ` FROM plainjobs_gate_waiter m FORCE INDEX (gate_waiter_gate) STRAIGHT_JOIN plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = m.job`

	selectMemberWindow = `
		SELECT COALESCE((SELECT job FROM plainjobs_gate_member FORCE INDEX (gate_member_gate)
			WHERE gate = ? AND job < ? ORDER BY job DESC LIMIT 1 OFFSET ?), 0)`
)

// gated makes c read the members of a gate, or its waiters. A page reads as many members as it
// reads of all jobs in other cases.
func (c *condition) gated(ctx context.Context, b *Backend, q reader, f backend.Filter, before int64) error {
	c.tables, c.order = fromWaiters, `m.job`
	gate := f.Behind
	if f.Gate != 0 {
		c.tables, gate = fromMembers, f.Gate
		err := b.scan(ctx, q, selectMemberWindow, []any{gate, before, listWindow}, func(r *sql.Rows) error { return r.Scan(&c.from) })
		if err != nil {
			return err
		}
	}
	c.and(`m.gate = ? AND m.job < ? AND m.job >= ?`, gate, before, c.from)
	return nil
}
