package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// maxPromote bounds the due jobs that one claim makes pending.
const maxPromote = 1000

// expiredRounds bounds how often a claim searches again because the jobs that it
// found had expired.
const expiredRounds = 8

// maxStuck bounds how many jobs with locked keys a claim passes over before it
// gives up.
const maxStuck = 100

// stuckPause is how long a waiting worker then pauses before it claims again.
const stuckPause = 20 * time.Millisecond

// A claim is one run of Claim.
type claim struct {
	t     *tx
	req   backend.ClaimRequest
	now   int64
	base  int64 // a token is this random base plus the job's ID
	names []claimable
	bytes int
	jobs  []backend.Job
	stuck []int64 // jobs whose keys another transaction has locked

	started int // jobs of limited names, claimed in earlier rounds
}

// A claimable is a name whose jobs a claim may take, and how many of them.
type claimable struct {
	name    string
	most    int
	limited bool // by settings; all limited names together take at most what starts at once
}

// Claim implements [backend.Backend].
func (b *Backend) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if err := check.Claim(req); err != nil {
		return nil, fmt.Errorf("postgres: claim: %w", err)
	}
	if req.Limit > 0 && len(req.Names) > 0 && time.Now().UnixNano() > b.special.Load() {
		jobs, plain, err := b.claimPlain(ctx, req)
		if plain || err != nil && !timedOut(ctx, err) {
			return jobs, err
		}
	}
	var c claim
	run := func(t *tx) error {
		c = claim{t: t, req: req, base: 1 + rand.Int64N(1<<62), bytes: cmp.Or(req.MaxBytes, backend.DefaultMaxBytes)}
		return c.run()
	}
	err := b.write(ctx, "claim", false, run)
	if timedOut(ctx, err) {
		err = b.write(ctx, "claim", false, allowTime(run))
	}
	if err != nil {
		return nil, err
	}
	return c.jobs, nil
}

// beginClaim renews the worker's row and reads the facts that decide how the claim
// continues. It returns one row for each setting, and at least one. A row that was
// renewed within a hundredth of its lease is only locked, which keeps it from
// being reaped: claims are frequent, and each new version of a row stays until
// vacuum removes it.
const beginClaim = `
	WITH clock AS MATERIALIZED (SELECT plainjobs.now_us() AS now),
		seen AS (
			UPDATE plainjobs.workers w SET seen_at = clock.now, lease = $2::bigint FROM clock
			WHERE w.id = $1::bigint AND NOT (w.lease = $2::bigint AND w.seen_at BETWEEN clock.now - $2::bigint / 100 AND clock.now) RETURNING w.id),
		locked AS MATERIALIZED (SELECT w.id FROM plainjobs.workers w WHERE w.id = $1::bigint FOR SHARE),
		facts AS MATERIALIZED (
			SELECT clock.now, (SELECT count(*) FROM seen) + (SELECT count(*) FROM locked) > 0 AS registered,
				EXISTS (SELECT 1 FROM plainjobs.jobs WHERE state = 1 AND run_at <= clock.now) AS due,
				EXISTS (SELECT 1 FROM plainjobs.jobs WHERE state = 3 AND suspect) AS suspects
			FROM clock)
	SELECT f.now, f.registered, f.due, f.suspects, s.name IS NOT NULL, coalesce(s.name, ''), coalesce(s.paused, false), coalesce(s.max_running, 0),
		coalesce(s.rate, 0), coalesce(s.per, 0), coalesce(s.keep_done, 0), coalesce(s.keep_failed, 0), coalesce(s.keep_rows, 0), coalesce(s.max_crashes, 0)
	FROM facts f LEFT JOIN plainjobs.settings s ON true`

func (c *claim) run() error {
	t := c.t
	var registered, due, suspects bool
	all := settings{}
	err := t.each(beginClaim, []any{c.req.Worker.ID, c.req.Worker.Lease.Microseconds()}, func(r *sql.Rows) error {
		var some bool
		var name string
		var s setting
		var maxRunning, rate, per, done, failed int64
		err := r.Scan(&t.clock, &registered, &due, &suspects, &some, &name, &s.paused, &maxRunning, &rate, &per, &done, &failed,
			&s.History.Rows, &s.MaxCrashes)
		if some {
			all[name] = s.with(maxRunning, rate, per, done, failed)
		}
		return err
	})
	if err != nil {
		return err
	}
	t.know(all)
	for _, name := range c.req.Names {
		if all[everything].paused || all[name].paused || all[name].Limited() {
			t.b.special.Store(time.Now().Add(specialFor).UnixNano())
		}
	}
	c.now = t.clock
	if !registered {
		if !c.req.Register {
			return rejected{backend.ErrWorkerGone}
		}
		if err := t.register(c.req.Worker); err != nil {
			return err
		}
	}
	if c.req.Limit == 0 {
		return nil
	}
	if due {
		if _, err := t.promote(maxPromote); err != nil {
			return err
		}
	}
	if err := c.choose(); err != nil || len(c.names) == 0 {
		return err
	}
	if suspects && c.req.Suspects {
		if done, err := c.takeSuspect(); done || err != nil {
			return err
		}
	}
	for rounds := 0; rounds < expiredRounds && len(c.stuck) < maxStuck && len(c.jobs) < c.req.Limit && c.bytes > 0; {
		before, taken := len(c.stuck), len(c.jobs)
		expired, err := c.take(takeJobs, c.req.Limit-taken)
		if err != nil {
			return err
		}
		c.spend(c.jobs[taken:])
		if expired > 0 {
			rounds++
		} else if len(c.stuck) == before {
			break
		}
	}
	if len(c.stuck) > 0 && len(c.jobs) == 0 {
		t.b.stuck.Store(time.Now().Add(stuckPause).UnixNano())
	}
	slices.SortFunc(c.jobs, inClaimOrder)
	return nil
}

// spend reduces the claim's bounds by the claimed jobs before another round
// replaces jobs that had expired.
func (c *claim) spend(jobs []backend.Job) {
	for _, j := range jobs {
		c.bytes -= len(j.Payload)
		i, _ := slices.BinarySearchFunc(c.names, j.Name, func(a claimable, name string) int { return cmp.Compare(a.name, name) })
		c.names[i].most--
		if c.names[i].limited {
			c.started++
		}
	}
}

// choose finds the names whose jobs may be claimed, and how many of each.
func (c *claim) choose() error {
	t := c.t
	all, err := t.settings()
	if err != nil || all[everything].paused {
		return err
	}
	var limited []string
	for _, name := range c.req.Names {
		if s := all[name]; s.Limited() && !s.paused {
			limited = append(limited, name)
		}
	}
	if len(limited) > 0 {
		// When the lock is held, other claims of these names have committed, and the
		// following statements see their effects.
		all = maps.Clone(all)
		if err := t.each(lockSettings, []any{textArray(limited)}, all.scan); err != nil {
			return err
		}
		t.know(all)
		t.clock = 0 // waiting for the lock took time
		if c.now, err = t.now(); err != nil {
			return err
		}
	}
	for _, name := range c.req.Names {
		s := all[name]
		most := c.req.Limit
		if n, ok := c.req.MaxPerName[name]; ok {
			most = min(most, n)
		}
		if s.Limited() && !s.paused && most > 0 {
			allowed, err := t.allowance(name, s, c.now)
			if err != nil {
				return err
			}
			most = min(most, allowed, startable(&c.req))
		}
		if most > 0 && !s.paused {
			c.names = append(c.names, claimable{name, most, s.Limited()})
		}
	}
	slices.SortFunc(c.names, func(a, b claimable) int { return cmp.Compare(a.name, b.name) })
	c.names = slices.CompactFunc(c.names, func(a, b claimable) bool { return a.name == b.name })
	return nil
}

// columns returns the texts of the arrays of names, maxima and limited flags.
func (c *claim) columns() (names, most, limited string) {
	n, m, l := make([]string, len(c.names)), make([]int, len(c.names)), make([]bool, len(c.names))
	for i, name := range c.names {
		n[i], m[i], l[i] = name.name, name.most, name.limited
	}
	return textArray(n), intArray(m), boolArray(l)
}

// The form of all claims. The first statement part finds, without locks, which
// jobs come first over all names. Then it locks each name's share, skips rows that
// other transactions have locked, and locks no more rows than that, because other
// claims skip a job that is locked but not taken. A row that changed since is
// checked again after it is locked, so no job is claimed twice. (A subquery with
// LIMIT under IN may run once for each row, and lock more.)
//
// Expired jobs are locked and returned but not taken. So are jobs whose unique key
// another transaction has locked, for example one of the application that pushes
// a job with that key: waiting for the key would delay all names.
const (
	claimLocked = `
		heads AS MATERIALIZED (
			SELECT h.* FROM shares CROSS JOIN LATERAL (
				SELECT j.id, j.priority, j.run_at, j.expires_at, octet_length(j.payload) AS size
				FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = shares.name` + notStuck + `
				ORDER BY -j.priority::integer, j.run_at, j.id LIMIT shares.most FOR UPDATE SKIP LOCKED) h)`

	claimTaken = `,
		fits AS MATERIALIZED (
			SELECT id, expires_at FROM (
				SELECT id, expires_at, sum(size) OVER earlier AS bytes, row_number() OVER earlier AS place
				FROM heads WINDOW earlier AS (ORDER BY priority DESC, run_at, id)) sized
			WHERE bytes <= $8::bigint OR place = 1 AND $11::boolean),
		keyed AS MATERIALIZED (
			SELECT j.id, k.name, k.key FROM fits f JOIN plainjobs.jobs j ON j.id = f.id
			CROSS JOIN LATERAL (
				SELECT k.name, k.key FROM plainjobs.keys k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id OFFSET 0) k
			WHERE j.flags & 2 <> 0 OR f.expires_at <= $9::bigint),
		free AS MATERIALIZED (
			SELECT k.job FROM keyed v CROSS JOIN LATERAL (
				SELECT k.job FROM plainjobs.keys k WHERE k.name = v.name AND k.key = v.key AND k.job = v.id FOR UPDATE SKIP LOCKED) k),
		stuck AS MATERIALIZED (SELECT id FROM keyed WHERE id NOT IN (SELECT job FROM free)),
		taken AS (
			UPDATE plainjobs.jobs j SET state = 4, ending = 0, worker = $1::bigint, token = $2::bigint + j.id, expires_at = NULL
			FROM fits f WHERE j.id = f.id AND (f.expires_at IS NULL OR f.expires_at > $9::bigint) AND f.id NOT IN (SELECT id FROM stuck)
			RETURNING j.id, j.name, j.priority, j.failures, j.max_attempts, j.suspect, j.created_at, j.run_at, f.expires_at, j.flags,
				coalesce(j.unique_key, '') AS unique_key, coalesce(j.serial_key, '') AS serial_key, j.metadata, j.payload)
		SELECT * FROM taken
		UNION ALL SELECT id, '', 0, 0, 0, false, 0, 0, NULL, -1, '', '', NULL, NULL FROM fits WHERE expires_at <= $9::bigint AND id NOT IN (SELECT id FROM stuck)
		UNION ALL SELECT id, '', 0, 0, 0, false, 0, 0, NULL, -2, '', '', NULL, NULL FROM stuck`

	notStuck = ` AND j.id <> ALL ((SELECT $10::text::bigint[])::bigint[])`

	takeJobs = `
		WITH shares AS MATERIALIZED (
			SELECT name, count(*) AS most FROM (
				SELECT name FROM (
					SELECT v.name, v.limited, p.priority, p.run_at, p.id, row_number() OVER (PARTITION BY v.limited ORDER BY p.priority DESC, p.run_at, p.id) AS place
					FROM unnest($3::text::text[], $4::text::bigint[], $5::text::boolean[]) AS v(name, most, limited)
					CROSS JOIN LATERAL (
						SELECT j.id, j.priority, j.run_at FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = v.name` + notStuck + `
						ORDER BY -j.priority::integer, j.run_at, j.id LIMIT v.most) p) placed
				WHERE NOT limited OR place <= $6::bigint
				ORDER BY priority DESC, run_at, id LIMIT $7::bigint) chosen
			GROUP BY name),` + claimLocked + claimTaken

	// takeSuspect takes the first suspect, alone.
	takeSuspect = `
		WITH shares AS MATERIALIZED (
			SELECT v.name FROM unnest($3::text::text[], $4::text::bigint[], $5::text::boolean[]) AS v(name, most, limited)
			CROSS JOIN LATERAL (
				SELECT j.id, j.priority, j.run_at FROM plainjobs.jobs j WHERE j.state = 3 AND j.suspect AND j.name = v.name` + notStuck + `
				ORDER BY j.priority DESC, j.run_at, j.id LIMIT least($6::bigint, $7::bigint, 1)) p
			ORDER BY p.priority DESC, p.run_at, p.id LIMIT 1),
		heads AS MATERIALIZED (
			SELECT h.* FROM shares CROSS JOIN LATERAL (
				SELECT j.id, j.priority, j.run_at, j.expires_at, octet_length(j.payload) AS size
				FROM plainjobs.jobs j WHERE j.state = 3 AND j.suspect AND j.name = shares.name` + notStuck + `
				ORDER BY j.priority DESC, j.run_at, j.id LIMIT 1 FOR UPDATE SKIP LOCKED) h)` + claimTaken
)

// take runs a statement that takes jobs, cancels the expired jobs that it finds,
// and returns their number.
func (c *claim) take(query string, limit int) (expired int, err error) {
	names, most, limited := c.columns()
	var keyed []*row
	var gone []int64
	counts := map[string]int64{}
	slots := int64(startable(&c.req) - c.started)
	args := []any{c.req.Worker.ID, c.base, names, most, limited, slots, limit, c.bytes, c.now, intArray(c.stuck), len(c.jobs) == 0}
	err = c.t.each(query, args, func(r *sql.Rows) error {
		var j backend.Job
		var created, runAt, failures, attempts int64
		var expires sql.NullInt64
		var flags flag
		err := r.Scan(&j.ID, &j.Name, &j.Priority, &failures, &attempts, &j.Suspect, &created, &runAt, &expires, &flags, &j.UniqueKey, &j.SerialKey, &j.Metadata, &j.Payload)
		if err != nil {
			return err
		}
		switch flags {
		case -1:
			gone = append(gone, j.ID)
			return nil
		case -2:
			c.stuck = append(c.stuck, j.ID)
			return nil
		}
		j.Token = c.base + j.ID
		j.Attempt, j.MaxAttempts = int(failures)+1, int(attempts)
		j.CreatedAt, j.RunAt = instant(created), instant(runAt)
		if expires.Valid {
			j.Expires = time.Duration(expires.Int64-c.now) * time.Microsecond
		}
		if flags&flagUntilStarted != 0 {
			keyed = append(keyed, &row{id: j.ID, name: j.Name, unique: j.UniqueKey, flags: flags})
		}
		counts[j.Name]++
		c.jobs = append(c.jobs, j)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for name, n := range counts {
		c.t.move(name, backend.Pending, backend.Running, n)
		if err := c.t.start(name, (*c.t.set)[name], c.now, n); err != nil {
			return 0, err
		}
	}
	if err := c.t.releaseUnique(keyed, c.now); err != nil {
		return 0, err
	}
	return len(gone), c.cancelExpired(gone)
}

// cancelExpired cancels jobs that expired before they were claimed.
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
			r.become(r.Expire(c.now))
			expired = append(expired, r)
		}
	}
	return c.t.write(expired)
}

const selectFirsts = `
	SELECT suspect FROM unnest($1::text::text[]) AS v(name)
	CROSS JOIN LATERAL (
		(SELECT j.id, j.priority, j.run_at, j.suspect FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = v.name
				AND (j.expires_at IS NULL OR j.expires_at > $2::bigint)
			ORDER BY -j.priority::integer, j.run_at, j.id LIMIT 1)
		UNION ALL
		(SELECT j.id, j.priority, j.run_at, j.suspect FROM plainjobs.jobs j WHERE j.state = 3 AND j.suspect AND j.name = v.name
			ORDER BY j.priority DESC, j.run_at, j.id LIMIT 1)) p
	ORDER BY p.priority DESC, p.run_at, p.id LIMIT 1`

// takeSuspect claims the first suspect if it precedes all other jobs.
func (c *claim) takeSuspect() (bool, error) {
	names, _, _ := c.columns()
	for range expiredRounds { // the suspect found may have expired
		first := false
		err := c.t.each(selectFirsts, []any{names, c.now}, func(r *sql.Rows) error { return r.Scan(&first) })
		if err != nil || !first {
			return false, err
		}
		expired, err := c.take(takeSuspect, 1)
		if err != nil || expired == 0 || len(c.jobs) > 0 {
			return len(c.jobs) > 0, err
		}
	}
	return false, nil
}
