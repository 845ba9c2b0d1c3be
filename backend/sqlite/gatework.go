package sqlite

import (
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// gateWork is what a transaction changes in gates. It is stored before the commit: a gate
// is written once, however many of its members end.
type gateWork struct {
	b       *Backend
	tallies map[int64]lifecycle.Tally // of the gates to look at, also if nothing changes
	left    int                       // how many waiters the transaction may still let through
	created [2]int64                  // the first of the gates that it creates, and the first after them
}

// maxAdmitted bounds the waiters that one transaction lets through. The others follow in
// further transactions, so that no number of them holds the write lock for long.
const maxAdmitted = 200

// clone returns a copy, or nil.
func (w *gateWork) clone() *gateWork {
	if w == nil {
		return nil
	}
	return &gateWork{w.b, maps.Clone(w.tallies), w.left, w.created}
}

// work returns what the transaction changes in gates.
func (b *Backend) work(t *tx) *gateWork {
	if t.gates == nil {
		t.gates = &gateWork{b: b, tallies: map[int64]lifecycle.Tally{}, left: maxAdmitted}
	}
	return t.gates
}

// tally changes the counts of a gate.
func (b *Backend) tally(t *tx, gate int64, change lifecycle.Tally) {
	w := b.work(t)
	w.tallies[gate] = w.tallies[gate].Plus(change)
}

const (
	selectGatesOf = `SELECT gate FROM plainjobs_gate_member WHERE job = ?`

	countMembers = `SELECT gate, count(*) FROM plainjobs_gate_member WHERE job BETWEEN ? AND ? GROUP BY gate`

	deleteMemberRows = `DELETE FROM plainjobs_gate_member WHERE job = ?`
	deleteWaiterRow  = `DELETE FROM plainjobs_gate_waiter WHERE job = ?`

	updateBehind = `UPDATE plainjobs_gate_waiter SET waits = 0 WHERE job = ?`
)

var (
	countMembersOf  = newList(`SELECT gate, count(*) FROM plainjobs_gate_member WHERE job IN (`, `?`, `) GROUP BY gate`)
	deleteMembersOf = newList(`DELETE FROM plainjobs_gate_member WHERE job IN (`, `?`, `)`)
	deleteWaitersOf = newList(`DELETE FROM plainjobs_gate_waiter WHERE job IN (`, `?`, `)`)
	insertMembers   = newRows(`INSERT INTO plainjobs_gate_member (job, gate) VALUES `, 2, ``)
	insertWaiters   = newRows(`INSERT INTO plainjobs_gate_waiter (job, gate, condition, waits, delay, expires) VALUES `, 6, ``)
	insertNewGates  = newRows(`
		INSERT INTO plainjobs_job_gate (total, open, done, failed, cancelled, label, parent, kind, sealed, created_at, deadline, swept,
			awaits, awaiting, paused, id) VALUES `, 16, ``)
)

// countMember changes the gates in which a job counts.
func (b *Backend) countMember(t *tx, j jobKeys, change lifecycle.Tally) error {
	if j.flags&flagMember == 0 || change == (lifecycle.Tally{}) {
		return nil
	}
	return t.each(selectGatesOf, []any{j.id}, func(r *sql.Rows) (bool, error) {
		var gate int64
		err := r.Scan(&gate)
		b.tally(t, gate, change)
		return true, err
	})
}

// countDone counts the gated ones of runs as done.
func (b *Backend) countDone(t *tx, runs []doneRun) error {
	add := func(r *sql.Rows) (bool, error) {
		var gate, n int64
		err := r.Scan(&gate, &n)
		b.tally(t, gate, lifecycle.Tally{Open: -n, Done: n})
		return true, err
	}
	long, rest := spans(len(runs), func(i int) bool { return runs[i].ID == runs[i-1].ID+1 })
	for _, s := range long {
		if err := t.each(countMembers, []any{runs[s.from].ID, runs[s.to-1].ID}, add); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(rest, maxList) {
		ids := make([]int64, len(part))
		for i, at := range part {
			ids[i] = runs[at].ID
		}
		query, length := countMembersOf.fit(len(ids))
		if err := t.each(query, appendIDs(nil, ids, length), add); err != nil {
			return err
		}
	}
	return nil
}

// forgetGates deletes what at most maxList deleted jobs have to do with gates.
func (t *tx) forgetGates(flags flag, args []any, n int) error {
	for _, del := range []struct {
		from  *list
		needs flag
	}{{deleteMembersOf, flagMember}, {deleteWaitersOf, flagWaiter}} {
		if flags&del.needs == 0 {
			continue
		}
		query, _ := del.from.fit(n)
		if _, err := t.exec(query, args...); err != nil {
			return err
		}
	}
	return nil
}

// comeForward notes that a job waits behind its gate no longer.
func (t *tx) comeForward(r *row) error {
	r.flags &^= flagBehind | flagHeld
	_, err := t.exec(updateBehind, r.id)
	return err
}

const gateColumns = `g.id, g.label, g.parent, g.total, g.open, g.done, g.failed, g.cancelled, g.sealed, g.fired, g.created_at, g.ended_at, g.deadline, g.kind, g.awaits, g.awaiting, g.paused`

// A gateRow is a stored gate.
type gateRow struct {
	lifecycle.Gate
	id, parent, created int64
	label               string
	awaits              int64
	awaiting            bool
	pause               pause
}

// fields are where the columns of gateColumns are scanned.
func (g *gateRow) fields() []any {
	return []any{&g.id, &g.label, &g.parent, &g.Total, &g.Open, &g.Done, &g.Failed, &g.Cancelled, &g.Sealed, &g.Fired, &g.created, &g.EndedAt, &g.Deadline,
		&g.Kind, &g.awaits, &g.awaiting, &g.pause}
}

const (
	selectGate = `SELECT ` + gateColumns + ` FROM plainjobs_job_gate g WHERE g.id = ?`

	updateGate = `
		UPDATE plainjobs_job_gate SET total = ?1, open = ?2, done = ?3, failed = ?4, cancelled = ?5, fired = ?6, ended_at = ?7,
			passing = ?8, swept = CASE ?7 WHEN 0 THEN swept END, paused = ?9
		WHERE id = ?10`

	selectWaiters = `
		SELECT job, condition, delay, expires FROM plainjobs_gate_waiter
		WHERE gate = (?+0) AND waits = 1 AND (? OR condition = 3) ORDER BY job LIMIT (?+0)`
)

// gate returns the gate with an ID. Its id is 0 if there is none.
func (t *tx) gate(id int64) (g gateRow, err error) {
	err = t.each(selectGate, []any{id}, func(r *sql.Rows) (bool, error) { return false, r.Scan(g.fields()...) })
	return g, err
}

// settleGates stores what the transaction changes in gates, and lets waiters through, up
// to a bound. This may end other jobs, which count in other gates.
func (b *Backend) settleGates(t *tx) error {
	now := b.now()
	for len(t.gates.tallies) > 0 {
		for _, id := range slices.Sorted(maps.Keys(t.gates.tallies)) {
			change := t.gates.tallies[id]
			delete(t.gates.tallies, id)
			if err := b.settleGate(t, id, change, now); err != nil {
				return err
			}
		}
	}
	t.gates = nil
	return nil
}

func (b *Backend) settleGate(t *tx, id int64, change lifecycle.Tally, now int64) error {
	g, err := t.gate(id)
	if err != nil || g.id == 0 {
		return err
	}
	ended := g.EndedAt != 0
	g.Gate = g.Count(change, now)
	more := false
	if g.EndedAt != 0 || g.Fired {
		if more, err = b.passWaiters(t, &g, now); err != nil {
			return err
		}
	}
	if g.pause == resumed {
		left, err := b.releaseHeld(t, id, now)
		if err != nil {
			return err
		}
		if more = more || left; !left {
			g.pause = running
		}
	}
	if g.Kind == backend.HubGate && g.EndedAt != 0 && !more {
		if more, err = b.countHub(t, &g); err != nil {
			return err
		}
	}
	if more {
		t.onCommit(func() { b.passing.Store(true) })
	}
	_, err = t.exec(updateGate, g.Total, g.Open, g.Done, g.Failed, g.Cancelled, g.Fired, g.EndedAt, more, int64(g.pause), id)
	if err == nil && !ended && g.EndedAt != 0 && g.parent != 0 {
		b.tally(t, g.parent, lifecycle.Moved(backend.Pending, g.State()))
	}
	return err
}

const (
	selectAwaitingGates = `
		SELECT id FROM plainjobs_job_gate INDEXED BY plainjobs_job_gate_awaiting
		WHERE awaiting = 1 AND awaits = (?+0) ORDER BY id LIMIT (?+0)`
	updateAwaitingGates = `UPDATE plainjobs_job_gate SET awaiting = 0 WHERE awaiting = 1 AND awaits = ? AND id <= ?`
)

// countHub counts a hub that has ended in the gates that await it, and reports whether some
// are left for another transaction.
func (b *Backend) countHub(t *tx, hub *gateRow) (more bool, err error) {
	var ids []int64
	err = t.each(selectAwaitingGates, []any{hub.id, t.gates.left + 1}, func(r *sql.Rows) (bool, error) {
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
	if len(ids) == 0 {
		return more, nil
	}
	t.gates.left -= len(ids)
	for _, id := range ids {
		b.tally(t, id, lifecycle.Moved(backend.Pending, hub.State()))
	}
	_, err = t.exec(updateAwaitingGates, hub.id, ids[len(ids)-1])
	return more, err
}

// A gateWaiter is a job that waits behind a gate.
type gateWaiter struct {
	job            int64
	when           backend.When
	delay, expires time.Duration
}

// passWaiters does what the state of g means for its waiters, and reports whether some are
// left for another transaction.
func (b *Backend) passWaiters(t *tx, g *gateRow, now int64) (more bool, err error) {
	var waiters []gateWaiter
	err = t.each(selectWaiters, []any{g.id, g.EndedAt != 0, t.gates.left + 1}, func(r *sql.Rows) (bool, error) {
		var w gateWaiter
		var delay, expires int64 // microseconds
		err := r.Scan(&w.job, &w.when, &delay, &expires)
		w.delay, w.expires = time.Duration(delay)*time.Microsecond, time.Duration(expires)*time.Microsecond
		waiters = append(waiters, w)
		return true, err
	})
	if err != nil {
		return false, err
	}
	if more = len(waiters) > t.gates.left; more {
		waiters = waiters[:t.gates.left]
	}
	t.gates.left -= len(waiters)
	for _, w := range waiters {
		if err := b.pass(t, g, w, now); err != nil {
			return false, err
		}
	}
	return more, nil
}

// pass does what the state of g means for one waiter.
func (b *Backend) pass(t *tx, g *gateRow, w gateWaiter, now int64) error {
	r, err := t.row(w.job)
	if err != nil {
		return err
	}
	passage := g.Passage(w.when)
	if passage == lifecycle.Waits {
		return nil
	}
	r.id = w.job // also if the job is gone
	waits := r.State == backend.Blocked && r.flags&flagBehind != 0
	if err := t.comeForward(&r); err != nil || !waits {
		return err
	}
	switch passage {
	case lifecycle.Admitted:
		next := r.Admit(w.delay, w.expires, now)
		blocked, err := t.queueUp(r.jobKeys)
		if err != nil {
			return err
		}
		if blocked {
			next.State = backend.Blocked
		}
		return b.put(t, r, next, now)
	case lifecycle.Refused:
		next, e := r.Refuse(lifecycle.GateText(g.id, g.Gate, w.when), now)
		return b.put(t, r, next, now, e)
	}
	if err := b.countMember(t, r.jobKeys, lifecycle.Moved(r.State, backend.Done)); err != nil {
		return err
	}
	return t.delete([]row{r}, now)
}

const selectPassing = `SELECT id FROM plainjobs_job_gate INDEXED BY plainjobs_job_gate_passing WHERE passing = 1 ORDER BY id LIMIT 100`

// continueGates lets waiters through that earlier transactions have left.
func (b *Backend) continueGates(t *tx) error {
	return t.each(selectPassing, nil, func(r *sql.Rows) (bool, error) {
		var gate int64
		err := r.Scan(&gate)
		b.tally(t, gate, lifecycle.Tally{})
		return true, err
	})
}

const (
	// Gates whose deadline has passed.
	selectOverdue = `
		SELECT id, swept FROM plainjobs_job_gate INDEXED BY plainjobs_job_gate_deadline
		WHERE swept IS NOT NULL AND deadline <= (?+0) ORDER BY deadline, id LIMIT 10`
	sealGate    = `UPDATE plainjobs_job_gate SET sealed = 1 WHERE id = ?`
	sweepInner  = `UPDATE plainjobs_job_gate SET deadline = ?1, swept = 0 WHERE parent = ?2 AND parent > 0 AND ended_at = 0 AND (deadline = 0 OR deadline > ?1)`
	updateSwept = `UPDATE plainjobs_job_gate SET swept = ? WHERE id = ?`

	selectMembers = `SELECT job FROM plainjobs_gate_member WHERE gate = (?+0) AND job > (?+0) ORDER BY job LIMIT (?+0)`
)

// sweepGates cancels members of gates whose deadline has passed, at most limit, and reports
// whether there may be more.
func (b *Backend) sweepGates(t *tx, now int64, limit int) (more bool, err error) {
	type overdue struct{ id, swept int64 }
	var all []overdue
	err = t.each(selectOverdue, []any{now}, func(r *sql.Rows) (bool, error) {
		var o overdue
		err := r.Scan(&o.id, &o.swept)
		all = append(all, o)
		return true, err
	})
	if err != nil {
		return false, err
	}
	for _, o := range all {
		for _, query := range []string{sealGate, sweepInner} {
			args := []any{o.id}
			if query == sweepInner {
				args = []any{now, o.id}
			}
			if _, err := t.exec(query, args...); err != nil {
				return false, err
			}
		}
		n, err := b.cancelMembers(t, o.id, o.swept, now, limit)
		if err != nil {
			return false, err
		}
		b.tally(t, o.id, lifecycle.Tally{})
		if limit -= n; limit == 0 {
			break
		}
	}
	return len(all) > 0, nil
}

// cancelMembers cancels the members of a gate after one with an ID, at most limit, and
// returns how many it has looked at.
func (b *Backend) cancelMembers(t *tx, gate, after, now int64, limit int) (int, error) {
	var ids []int64
	err := t.each(selectMembers, []any{gate, after, limit}, func(r *sql.Rows) (bool, error) {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return true, err
	})
	if err != nil {
		return 0, err
	}
	text := backend.DeadlineError + strconv.FormatInt(gate, 10)
	for _, id := range ids {
		if err := b.refuse(t, id, text, now); err != nil {
			return 0, err
		}
	}
	var swept any // NULL if these were the last
	if len(ids) == limit {
		swept = ids[limit-1]
	}
	_, err = t.exec(updateSwept, swept, gate)
	return len(ids), err
}

// refuse cancels an unfinished job for the reason in text, or asks for its end if it runs.
func (b *Backend) refuse(t *tx, id int64, text string, now int64) error {
	r, err := t.row(id)
	if err != nil || r.id == 0 || r.State.Terminal() {
		return err
	}
	next, e := r.Refuse(text, now)
	if next.State == backend.Running {
		_, err := t.exec(updateFlags, int64(flagCancelling), id)
		return err
	}
	return b.put(t, r, next, now, e)
}
