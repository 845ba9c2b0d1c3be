package postgres

import (
	"database/sql"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	selectPicked = `
		SELECT v.place - 1, j.id, j.seed, j.priority, j.failures, j.max_attempts, j.suspect, j.created_at, j.run_at, coalesce(j.expires_at, 0), j.flags,
			coalesce(j.unique_key, ''), coalesce(j.serial_key, ''), octet_length(j.payload)
		FROM unnest($1::text::bigint[], $2::text::bigint[]) WITH ORDINALITY AS v(first, until, place)
		JOIN plainjobs.job j ON j.id BETWEEN v.first AND v.until AND j.state = 3 ORDER BY v.place, j.id`

	// lockFlagged locks jobs whose rows or keys a claim changes, and their keys. A
	// claim has locked spans, so it waits for neither.
	lockFlagged = `
		WITH free AS MATERIALIZED (SELECT j.id, j.name, j.unique_key FROM plainjobs.job j WHERE j.id = ANY($1::text::bigint[]) FOR UPDATE SKIP LOCKED),
			keyed AS MATERIALIZED (
				SELECT f.id, k.name, k.key FROM free f
				CROSS JOIN LATERAL (
					SELECT k.name, k.key FROM plainjobs.unique_key k WHERE k.name = f.name AND k.key = f.unique_key AND k.job = f.id OFFSET 0) k),
			held AS MATERIALIZED (
				SELECT k.job FROM keyed v CROSS JOIN LATERAL (
					SELECT k.job FROM plainjobs.unique_key k WHERE k.name = v.name AND k.key = v.key AND k.job = v.id FOR UPDATE SKIP LOCKED) k)
		SELECT f.id FROM free f WHERE f.id NOT IN (SELECT v.id FROM keyed v) OR f.id IN (SELECT h.job FROM held h)`

	selectContents = `SELECT id, metadata, payload FROM plainjobs.job WHERE id = ANY($1::text::bigint[])`

	deleteSpans = `
		DELETE FROM plainjobs.ready r USING unnest($2::text::text[], $3::text::integer[], $4::text::bigint[], $5::text::bigint[]) AS v(name, rank, run_at, last)
		WHERE r.name = v.name AND r.suspect = $1::boolean AND r.rank = v.rank AND r.run_at = v.run_at AND r.last = v.last`
	shortenSpans = `
		UPDATE plainjobs.ready r SET first = v.first
		FROM unnest($2::text::text[], $3::text::integer[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[]) AS v(name, rank, run_at, last, first)
		WHERE r.name = v.name AND r.suspect = $1::boolean AND r.rank = v.rank AND r.run_at = v.run_at AND r.last = v.last`
	leaseJobs        = `SELECT plainjobs.lease_jobs($1::text::bigint[], $2::text::bigint[], $3::bigint)`
	updateUnexpiring = `UPDATE plainjobs.job SET expires_at = NULL WHERE id = ANY($1::text::bigint[])`
)

// A candidate is a pending job that a claim has found.
type candidate struct {
	place   int // of its pick
	job     backend.Job
	expires int64
	flags   flag
	size    int
}

// take claims picked jobs, cancels those that have expired, and returns their number.
// Jobs whose rows or keys another transaction has locked, for example one of the
// application that pushes a job with that key, stay pending: waiting for the key would
// delay all names.
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
	var taken []candidate
	var gone []int64
	var back []span // stuck jobs, and what is left of the last span
	for i := range found {
		f := &found[i]
		p := &picks[f.place]
		if free[f.job.ID] == lockedElsewhere {
			c.stuck[f.job.ID] = true
			back = append(back, span{p.name, p.suspect, p.rank, p.runAt, f.job.ID, f.job.ID})
			continue
		}
		if f.expires != 0 && f.expires <= c.now {
			gone = append(gone, f.job.ID)
			continue
		}
		if f.size > c.bytes && len(c.jobs)+len(taken) > 0 {
			c.bytes = 0
			picks = picks[:f.place+1]
			p.until = f.job.ID - 1
			break
		}
		c.bytes -= f.size
		taken = append(taken, *f)
	}
	if err := c.cut(picks, back); err != nil {
		return 0, err
	}
	if err := c.lease(taken); err != nil {
		return 0, err
	}
	return len(gone), c.cancelExpired(gone)
}

func (c *claim) candidates(picks []pick) (found []candidate, err error) {
	firsts, untils := make([]int64, len(picks)), make([]int64, len(picks))
	for i := range picks {
		firsts[i], untils[i] = picks[i].first, picks[i].until
	}
	err = c.t.each(selectPicked, []any{intArray(firsts), intArray(untils)}, func(r *sql.Rows) error {
		var f candidate
		var seed, failures, attempts, created, runAt int64
		err := r.Scan(&f.place, &f.job.ID, &seed, &f.job.Priority, &failures, &attempts, &f.job.Suspect, &created, &runAt, &f.expires, &f.flags,
			&f.job.UniqueKey, &f.job.SerialKey, &f.size)
		j := &f.job
		j.Name, j.Token = picks[f.place].name, seed+j.ID
		j.Attempt, j.MaxAttempts = int(failures)+1, int(attempts)
		j.CreatedAt, j.RunAt, j.HasSteps = instant(created), instant(runAt), f.flags&flagSteps != 0
		j.Gating = unreadGating(f.flags)
		if f.expires != 0 {
			j.Expires = time.Duration(f.expires-c.now) * time.Microsecond
		}
		found = append(found, f)
		return err
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
	locks := map[int64]int{}
	var ids []int64
	for i := range found {
		if f := &found[i]; f.expires != 0 || f.flags&flagUntilStarted != 0 {
			ids = append(ids, f.job.ID)
			locks[f.job.ID] = lockedElsewhere
		}
	}
	if len(ids) == 0 {
		return locks, nil
	}
	slices.Sort(ids)
	err := c.t.each(lockFlagged, []any{intArray(ids)}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		locks[id] = lockedHere
		return err
	})
	return locks, err
}

// cut takes the picked jobs out of their spans, except some.
func (c *claim) cut(picks []pick, except []span) error {
	var whole, rest []span
	for i := range picks {
		p := &picks[i]
		switch s := p.span; {
		case p.until == p.last:
			whole = append(whole, s)
		case p.until >= p.first:
			s.first = p.until + 1
			rest = append(rest, s)
		}
	}
	suspect := picks[0].suspect
	if len(whole) > 0 {
		k := newSpanColumns(whole)
		if _, err := c.t.exec(deleteSpans, suspect, textArray(k.names), intArray(k.ranks), intArray(k.runAts), intArray(k.lasts)); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		k := newSpanColumns(rest)
		_, err := c.t.exec(shortenSpans, suspect, textArray(k.names), intArray(k.ranks), intArray(k.runAts), intArray(k.lasts), intArray(k.firsts))
		if err != nil {
			return err
		}
	}
	return c.t.ready(except)
}

// lease claims jobs that are in no span any more.
func (c *claim) lease(taken []candidate) error {
	if len(taken) == 0 {
		return nil
	}
	jobs := make([]backend.Job, len(taken))
	ids := make([]int64, len(taken))
	at := make(map[int64]int, len(taken))
	counts := map[string]int64{}
	var keyed []*row
	var expiring []int64
	for i := range taken {
		f := &taken[i]
		jobs[i], ids[i], at[f.job.ID] = f.job, f.job.ID, i
		counts[f.job.Name]++
		if f.flags&flagUntilStarted != 0 {
			keyed = append(keyed, &row{id: f.job.ID, name: f.job.Name, unique: f.job.UniqueKey, flags: f.flags})
		}
		if f.expires != 0 {
			expiring = append(expiring, f.job.ID)
		}
	}
	err := c.t.each(selectContents, []any{intArray(ids)}, func(r *sql.Rows) error {
		var id int64
		var metadata, payload []byte
		err := r.Scan(&id, &metadata, &payload)
		jobs[at[id]].Metadata, jobs[at[id]].Payload = metadata, payload
		return err
	})
	if err != nil {
		return err
	}
	seeds := make([]int64, len(jobs))
	for i := range jobs {
		seeds[i] = jobs[i].Token - jobs[i].ID
	}
	if _, err := c.t.exec(leaseJobs, intArray(ids), intArray(seeds), c.req.Worker.ID); err != nil {
		return err
	}
	if len(expiring) > 0 {
		if _, err := c.t.exec(updateUnexpiring, intArray(expiring)); err != nil {
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

// cancelExpired cancels jobs that expired before they were claimed, and are in no span
// any more.
func (c *claim) cancelExpired(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := c.t.lock(ids)
	if err != nil {
		return err
	}
	var expired []*row
	for _, id := range ids {
		if r := rows[id]; r != nil && r.State == backend.Pending {
			r.owned = true
			r.become(r.Expire(c.now))
			expired = append(expired, r)
		}
	}
	return c.t.write(expired)
}
