package sqlite

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// checkGates returns an error if a gate of the jobs takes no more jobs. Nothing was written
// then.
func (t *tx) checkGates(jobs []backend.NewJob, now int64) error {
	takes := map[int64]bool{}
	created := [2]int64{}
	if t.gates != nil {
		created = t.gates.created
	}
	for i := range jobs {
		if jobs[i].Gating == nil {
			continue
		}
		ids := jobs[i].Gating.Gates
		if gate := jobs[i].Gating.Gate; gate != 0 {
			ids = append(slices.Clone(ids), gate)
		}
		for _, id := range ids {
			if takes[id] || id >= created[0] && id < created[1] {
				continue
			}
			if err := t.checkGate(id, now); err != nil {
				return rejected{fmt.Errorf("job %d: %w", i, err)}
			}
			takes[id] = true
		}
	}
	return nil
}

// checkGate returns an error if a gate takes no more members.
func (t *tx) checkGate(id, now int64) error {
	g, err := t.gate(id)
	switch {
	case err != nil:
		return err
	case g.id == 0:
		return fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)
	case !g.Takes(now):
		return fmt.Errorf("gate %d: %w", id, backend.ErrGateEnded)
	}
	return nil
}

const (
	insertWaiter = `INSERT INTO plainjobs_gate_waiter (job, gate, condition, waits, delay, expires) VALUES (?,?,?,?,?,?)`
	updateWaiter = `UPDATE plainjobs_gate_waiter SET delay = ?, expires = ? WHERE job = ?`
	insertMember = `INSERT INTO plainjobs_gate_member (job, gate) VALUES (?, ?) ON CONFLICT DO NOTHING`
)

// joinNew makes new jobs members and waiters of their gates.
func (b *Backend) joinNew(t *tx, jobs []backend.NewJob, pushed []backend.Pushed) error {
	type member struct{ job, gate int64 }
	var members []member
	var waiters []int                           // in jobs
	joined := lifecycle.Joined(backend.Pending) // or another state in which it has not ended
	for i := range jobs {
		j, id := &jobs[i], pushed[i].ID
		if j.Gating == nil {
			continue
		}
		for _, gate := range j.Gating.Gates {
			members = append(members, member{id, gate})
			b.tally(t, gate, joined)
		}
		if gate := j.Gating.Gate; gate != 0 {
			waiters = append(waiters, i)
			b.tally(t, gate, lifecycle.Tally{}) // the condition may hold already
		}
	}
	err := insertWaiters.exec(t, len(waiters), func(args []any, i int) []any {
		j := &jobs[waiters[i]]
		return append(args, pushed[waiters[i]].ID, j.Gating.Gate, int64(j.Gating.When), true, j.Delay.Microseconds(), j.Expires.Microseconds())
	})
	if err != nil {
		return err
	}
	return insertMembers.exec(t, len(members), func(args []any, i int) []any {
		return append(args, members[i].job, members[i].gate)
	})
}

// joinStored makes a stored job a member of the gates of g, as the job that a duplicate
// names.
func (b *Backend) joinStored(t *tx, id int64, g *backend.Gating) error {
	if g == nil || len(g.Gates) == 0 {
		return nil
	}
	r, err := t.row(id)
	if err != nil {
		return err
	}
	behind := int64(0)
	if r.flags&flagBehind != 0 {
		err = t.each(selectBehind, []any{id}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&behind) })
	}
	for _, gate := range g.Gates {
		if err != nil || gate == behind {
			continue
		}
		var n int64
		if n, err = t.execN(insertMember, id, gate); n > 0 {
			b.tally(t, gate, lifecycle.Joined(r.State))
		}
	}
	if err == nil && r.flags&flagMember == 0 {
		_, err = t.exec(updateFlags, int64(flagMember), id)
	}
	return err
}

const selectBehind = `SELECT gate FROM plainjobs_gate_waiter WHERE job = ?`

var (
	selectMembership = newList(`SELECT job, gate FROM plainjobs_gate_member WHERE job IN (`, `?`, `) ORDER BY job, gate`)
	selectStanding   = newList(`SELECT job, gate, condition FROM plainjobs_gate_waiter WHERE job IN (`, `?`, `)`)
)

// selectShared returns one gate and the number of jobs if all members with IDs in a range count in
// this gate and in no other.
const selectShared = `SELECT min(gate), max(gate), count(*) FROM plainjobs_gate_member WHERE job BETWEEN ? AND ?`

// readGates reads the gates of the claimed jobs.
func (c *claim) readGates() error {
	var rest []int64
	for first := 0; first < len(c.jobs); {
		next := first + 1
		if c.flags[first]&flagMember == 0 {
			first = next
			continue
		}
		for next < len(c.jobs) && c.flags[next]&flagMember != 0 && c.jobs[next].ID == c.jobs[next-1].ID+1 {
			next++
		}
		shared, err := c.readShared(first, next)
		if err != nil {
			return err
		}
		for i := first; i < next; i++ {
			if c.jobs[i].Gating = shared; shared == nil {
				rest = append(rest, c.jobs[i].ID)
			}
		}
		first = next
	}
	if err := c.readMembers(rest); err != nil {
		return err
	}
	return c.readStandings()
}

// readShared returns the gates of claimed jobs with consecutive IDs if all have the same one, and
// else nil. Members of a group are pushed together, and one row is read for all of them.
func (c *claim) readShared(first, next int) (shared *backend.Gating, err error) {
	if next-first < 2 {
		return nil, nil
	}
	err = c.t.each(selectShared, []any{c.jobs[first].ID, c.jobs[next-1].ID}, func(r *sql.Rows) (bool, error) {
		var lowest, highest sql.NullInt64
		var n int
		err := r.Scan(&lowest, &highest, &n)
		if n == next-first && lowest == highest {
			shared = &backend.Gating{Gates: []int64{lowest.Int64}}
		}
		return false, err
	})
	return shared, err
}

// readMembers reads the gates in which jobs count.
func (c *claim) readMembers(ids []int64) error {
	all := map[int64]*backend.Gating{}
	for part := range slices.Chunk(ids, maxList) {
		query, length := selectMembership.fit(len(part))
		err := c.t.each(query, appendIDs(nil, part, length), func(r *sql.Rows) (bool, error) {
			var job, gate int64
			err := r.Scan(&job, &gate)
			if all[job] == nil {
				all[job] = &backend.Gating{}
			}
			all[job].Gates = append(all[job].Gates, gate)
			return true, err
		})
		if err != nil {
			return err
		}
	}
	for i := range c.jobs {
		if g := all[c.jobs[i].ID]; g != nil {
			c.jobs[i].Gating = g
		}
	}
	return nil
}

// readStandings reads the gates behind which jobs have waited.
func (c *claim) readStandings() error {
	var ids []int64
	for i, f := range c.flags {
		if f&flagWaiter != 0 {
			ids = append(ids, c.jobs[i].ID)
		}
	}
	for part := range slices.Chunk(ids, maxList) {
		query, length := selectStanding.fit(len(part))
		err := c.t.each(query, appendIDs(nil, part, length), func(r *sql.Rows) (bool, error) {
			var job int64
			var g backend.Gating
			err := r.Scan(&job, &g.Gate, &g.When)
			i := slices.IndexFunc(c.jobs, func(j backend.Job) bool { return j.ID == job })
			if had := c.jobs[i].Gating; had != nil { // other jobs may share it
				g.Gates = had.Gates
			}
			c.jobs[i].Gating = &g
			return true, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A standing is the row of a job that waits, or waited, behind a gate.
type standing struct {
	gate           int64
	when           backend.When
	waits          bool
	delay, expires time.Duration
}

// waiter returns the job's standing, or a zero one.
func (r *jobRow) waiter() (s standing) {
	var v [5]int64
	if r.Waiter == nil || json.Unmarshal([]byte(*r.Waiter), &v) != nil {
		return s
	}
	return standing{v[0], backend.When(v[1]), v[2] != 0, time.Duration(v[3]) * time.Microsecond, time.Duration(v[4]) * time.Microsecond}
}

// gating returns the gates of the job, or nil.
func (r *jobRow) gating() *backend.Gating {
	w := r.waiter()
	g := backend.Gating{Gate: w.gate, When: w.when}
	if r.Gates != nil {
		if err := json.Unmarshal([]byte(*r.Gates), &g.Gates); err != nil {
			return nil
		}
	}
	if len(g.Gates) == 0 && g.Gate == 0 {
		return nil
	}
	return &g
}
