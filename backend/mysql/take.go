package mysql

import (
	"cmp"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/lease"
)

// smallPayload is the size up to which payloads are read with the rows. Larger ones are read
// when the claim knows which jobs it takes.
const smallPayload = 16 << 10

const (
	selectPicked = `
		SELECT id, seed, priority, failures, max_attempts, suspect, created_at, run_at, COALESCE(expires_at, 0), flags,
			COALESCE(unique_key, ''), COALESCE(serial_key, ''), metadata, LENGTH(payload), CASE WHEN LENGTH(payload) <= ? THEN payload END
		FROM plainjobs_job FORCE INDEX (PRIMARY) WHERE state = 3 AND (`
	between = `id BETWEEN ? AND ?`

	insertClaims = `INSERT INTO plainjobs_claim (seed, first, last, worker) VALUES `
)

var (
	// A claim has locked spans, so it waits for neither jobs nor keys.
	lockJobs     = `SELECT j.id FROM ` + joinJobs + ` FOR UPDATE SKIP LOCKED`
	lockJobKeys  = selectKeys + ` WHERE k.job = v.job FOR UPDATE SKIP LOCKED`
	findJobKeys  = selectKeys + ` WHERE k.job = v.job`
	selectLarge  = `SELECT j.id, j.payload FROM ` + joinJobs
	updateUnset  = `UPDATE ` + joinJobs + ` SET j.expires_at = NULL`
	shortenSpans = `
		UPDATE ` + join("name*", "suspect", "prio", "run_at", "last", "first") + ` plainjobs_ready r FORCE INDEX (PRIMARY)
		ON r.name = UNHEX(v.name) AND r.suspect = v.suspect AND r.prio = v.prio AND r.run_at = v.run_at AND r.last = v.last SET r.first = v.first`
)

// A candidate is a pending job that a claim has found.
type candidate struct {
	place   int // of its pick
	job     backend.Job
	expires int64
	flags   flag
	size    int
}

// take claims picked jobs, cancels those that have expired, and returns their number. Jobs
// whose rows or keys another transaction has locked, for example one of the application that
// pushes a job with that key, stay pending: waiting for the key would delay all names.
func (c *claim) take(picks []pick) (expired int, err error) {
	if len(picks) == 0 {
		return 0, nil
	}
	found, err := c.candidates(picks)
	if err != nil {
		return 0, err
	}
	free, err := c.lockFlagged(found)
	if err != nil {
		return 0, err
	}
	var claimed []candidate
	var gone []int64
	var back []span // stuck jobs
	for i := range found {
		f := &found[i]
		p := &picks[f.place]
		if free != nil && free[f.job.ID] == lockedElsewhere {
			c.stuck[f.job.ID] = true
			back = append(back, span{p.name, p.suspect, p.prio, p.runAt, f.job.ID, f.job.ID})
			continue
		}
		if f.expires != 0 && f.expires <= c.now {
			gone = append(gone, f.job.ID)
			continue
		}
		if f.size > c.bytes && len(c.jobs)+len(claimed) > 0 {
			c.bytes = 0
			picks = picks[:f.place+1]
			p.until = f.job.ID - 1
			break
		}
		c.bytes -= f.size
		claimed = append(claimed, *f)
	}
	if err := c.cut(picks, back); err != nil {
		return 0, err
	}
	if err := c.lease(claimed); err != nil {
		return 0, err
	}
	return len(gone), c.cancelExpired(gone)
}

// candidates returns the jobs of picks, in claim order.
func (c *claim) candidates(picks []pick) (found []candidate, err error) {
	args := []any{smallPayload}
	ranges := make([]string, 0, len(picks))
	for i, p := range picks {
		if n := len(args); i > 0 && picks[i-1].until+1 == p.first {
			args[n-1] = p.until
			continue
		}
		ranges = append(ranges, between)
		args = append(args, p.first, p.until)
	}
	byFirst := make([]int, len(picks))
	for i := range picks {
		byFirst[i] = i
	}
	slices.SortFunc(byFirst, func(a, b int) int { return cmp.Compare(picks[a].first, picks[b].first) })
	err = c.t.each(selectPicked+strings.Join(ranges, " OR ")+`)`, args, func(r *sql.Rows) error {
		var f candidate
		var seed, failures, attempts, created, runAt int64
		j := &f.job
		err := r.Scan(&j.ID, &seed, &j.Priority, &failures, &attempts, &j.Suspect, &created, &runAt, &f.expires, &f.flags,
			&j.UniqueKey, &j.SerialKey, &j.Metadata, &f.size, &j.Payload)
		at, exact := slices.BinarySearchFunc(byFirst, j.ID, func(i int, id int64) int { return cmp.Compare(picks[i].first, id) })
		if !exact {
			at--
		}
		f.place = byFirst[at]
		j.Name, j.Token = picks[f.place].name, seed+j.ID
		j.Attempt, j.MaxAttempts = int(failures)+1, int(attempts)
		j.CreatedAt, j.RunAt, j.HasSteps = instant(created), instant(runAt), f.flags&flagSteps != 0
		if f.expires != 0 {
			j.Expires = time.Duration(f.expires-c.now) * time.Microsecond
		}
		found = append(found, f)
		return err
	})
	slices.SortStableFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.job.ID, b.job.ID))
	})
	return found, err
}

// What a claim could do about the lock of a job.
const (
	needsNoLock = iota
	lockedElsewhere
	lockedHere
)

// lockFlagged locks the jobs, and their keys, whose rows or keys will change.
func (c *claim) lockFlagged(found []candidate) (map[int64]int, error) {
	var locks map[int64]int
	var ids []int64
	keyed := map[nameKey]int64{}
	for i := range found {
		if f := &found[i]; f.expires != 0 || f.flags&flagUntilStarted != 0 {
			if locks == nil {
				locks = map[int64]int{}
			}
			ids = append(ids, f.job.ID)
			locks[f.job.ID] = lockedElsewhere
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	slices.Sort(ids)
	free, err := c.t.ids(lockJobs, valuesOf(ids))
	if err != nil {
		return nil, err
	}
	for _, id := range free {
		locks[id] = lockedHere
	}
	for i := range found {
		if f := &found[i]; f.flags&flagUntilStarted != 0 && locks[f.job.ID] == lockedHere {
			keyed[nameKey{f.job.Name, f.job.UniqueKey}] = f.job.ID
		}
	}
	if len(keyed) == 0 {
		return locks, nil
	}
	held, err := c.t.keys(lockJobKeys, keyValues(keyed))
	if err != nil {
		return nil, err
	}
	all, err := c.t.keys(findJobKeys, keyValues(keyed))
	for _, k := range all {
		if !slices.ContainsFunc(held, func(h heldKey) bool { return h.nameKey == k.nameKey }) {
			locks[k.job] = lockedElsewhere
		}
	}
	return locks, err
}

// cut takes the picked jobs out of their spans, except some.
func (c *claim) cut(picks []pick, except []span) error {
	var whole []span
	var rest values
	for i := range picks {
		p := &picks[i]
		switch {
		case p.until == p.last:
			whole = append(whole, p.span)
		case p.until >= p.first:
			rest.add(p.name, p.suspect, p.prio, p.runAt, p.last, p.until+1)
		}
	}
	if err := c.t.deleteSpans(whole); err != nil {
		return err
	}
	if len(rest) > 0 {
		if err := c.t.later(shortenSpans, rest); err != nil {
			return err
		}
	}
	return c.t.ready(except)
}

// lease claims jobs that are in no span any more.
func (c *claim) lease(claimed []candidate) error {
	if len(claimed) == 0 {
		return nil
	}
	jobs := make([]backend.Job, len(claimed))
	counts := map[string]int64{}
	at := map[int64]int{}
	var keyed []*row
	var large, started []int64
	var places placeChange
	for i := range claimed {
		f := &claimed[i]
		jobs[i] = f.job
		counts[f.job.Name]++
		if f.size > smallPayload {
			large = append(large, f.job.ID)
			at[f.job.ID] = i
		}
		if f.flags&flagUntilStarted != 0 {
			keyed = append(keyed, &row{id: f.job.ID, name: f.job.Name, unique: f.job.UniqueKey, flags: f.flags})
		}
		if f.expires != 0 {
			started = append(started, f.job.ID)
			places.left[expiring].add(f.expires, f.job.ID)
		}
		switch {
		case f.flags&flagWaiter != 0:
			c.waiters = append(c.waiters, f.job.ID)
			fallthrough
		case f.flags&flagMember != 0:
			c.members = append(c.members, f.job.ID)
		}
	}
	if len(large) > 0 {
		err := c.t.each(selectLarge, []any{valuesOf(large)}, func(r *sql.Rows) error {
			var id int64
			var payload []byte
			err := r.Scan(&id, &payload)
			jobs[at[id]].Payload = payload
			return err
		})
		if err != nil {
			return err
		}
	}
	rows := insert{head: insertClaims}
	for _, k := range lease.ClaimsOf(jobs) {
		if err := rows.add(c.t, k.Seed, k.First, k.Last, c.req.Worker.ID); err != nil {
			return err
		}
	}
	if err := rows.flush(c.t); err != nil {
		return err
	}
	if len(started) > 0 {
		if err := c.t.later(updateUnset, valuesOf(started)); err != nil {
			return err
		}
		if err := places.store(c.t); err != nil {
			return err
		}
	}
	for name, n := range counts {
		c.t.move(name, backend.Pending, backend.Running, n)
		c.left[name] -= int(n)
		if c.all[name].Limited() {
			c.allowed[name] -= int(n)
			c.slots -= int(n)
			if err := c.t.start(name, c.all[name], c.now, n); err != nil {
				return err
			}
		}
	}
	c.jobs = append(c.jobs, jobs...)
	return c.t.releaseUnique(keyed, c.now)
}

// cancelExpired cancels jobs that expired before they were claimed, and are in no span any
// more.
func (c *claim) cancelExpired(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := c.t.lock(ids)
	if err != nil {
		return err
	}
	var gone []*row
	for _, id := range ids {
		if r := rows[id]; r != nil && r.State == backend.Pending {
			r.owned = true
			r.become(r.Expire(c.now))
			gone = append(gone, r)
		}
	}
	return c.t.write(gone)
}
