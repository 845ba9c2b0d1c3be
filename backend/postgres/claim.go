package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
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

// maxSuspectWindow bounds the jobs that a claim compares with the first suspect.
const maxSuspectWindow = 100

// lockRounds bounds how often a claim searches again because limited names allowed
// less than it had read without locks.
const lockRounds = 3

// A claim is one run of Claim.
type claim struct {
	t     *tx
	req   backend.ClaimRequest
	now   int64
	all   settings
	bytes int
	jobs  []backend.Job
	stuck map[int64]bool // jobs whose rows or keys another transaction has locked

	left    map[string]int // how many more jobs of a name may be claimed
	slots   int            // how many more jobs of limited names
	allowed map[string]int // how many more jobs of a limited name, as far as it was looked up
	locked  map[string]bool
}

// Claim implements [backend.Backend].
func (b *Backend) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if err := check.Claim(req); err != nil {
		return nil, fmt.Errorf("postgres: claim: %w", err)
	}
	for round := 0; ; round++ {
		jobs, err := b.claimOnce(ctx, req)
		paused := unmarkPaused(jobs)
		if err != nil || len(paused) == 0 {
			return jobs, err
		}
		left, err := b.hold(ctx, jobs, paused)
		if err != nil || len(left) > 0 || round == expiredRounds {
			return left, err
		}
	}
}

// claimOnce claims jobs. The IDs of their paused gates are negative.
func (b *Backend) claimOnce(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if jobs, plain, err := b.claimQuickly(ctx, &req); plain || err != nil && !timedOut(ctx, err) {
		return jobs, err
	}
	var c claim
	run := func(t *tx) error {
		c = claim{t: t, req: req, bytes: cmp.Or(req.MaxBytes, backend.DefaultMaxBytes), stuck: map[int64]bool{}, allowed: map[string]int{}, locked: map[string]bool{}}
		return c.run()
	}
	err := b.write(ctx, "claim", false, run)
	if timedOut(ctx, err) {
		err = b.write(ctx, "claim", false, allowTime(run))
	}
	if err != nil {
		return nil, err
	}
	b.leases.AddBySeed(c.jobs)
	return b.readGatings(ctx, c.jobs)
}

// claimQuickly claims without a transaction that is open between messages, if it
// can.
func (b *Backend) claimQuickly(ctx context.Context, req *backend.ClaimRequest) (jobs []backend.Job, plain bool, err error) {
	if req.Limit == 0 || len(req.Names) == 0 {
		return nil, false, nil
	}
	leave, err := b.enter()
	if err != nil {
		return nil, false, b.failed(ctx, "claim", err)
	}
	defer leave()
	asked := b.askedNames(req)
	if len(asked.names) == 0 {
		return nil, false, nil
	}
	now := time.Now().UnixNano()
	switch {
	case now > b.special.Load():
		jobs, plain, err = b.claimPlain(ctx, req, asked)
	case now > b.tangled.Load():
		jobs, plain, err = b.claimLimited(ctx, req, asked)
	}
	if err != nil {
		return nil, false, b.failed(ctx, "claim", err)
	}
	if plain {
		b.compactCounts(ctx)
	}
	return jobs, plain, nil
}

// beginClaim renews the worker's row and reads the facts that decide how the claim
// continues. A row that was renewed within a hundredth of its lease is only locked,
// which keeps it from being reaped: claims are frequent, and each new version of a
// row stays until vacuum removes it.
const beginClaim = `
	WITH clock AS MATERIALIZED (SELECT plainjobs.now_micros() AS now),
		seen AS (
			UPDATE plainjobs.worker w SET renewed_at = clock.now, lease = $2::bigint FROM clock
			WHERE w.id = $1::bigint AND NOT (w.lease = $2::bigint AND w.renewed_at BETWEEN clock.now - $2::bigint / 100 AND clock.now) RETURNING w.id),
		locked AS MATERIALIZED (SELECT w.id FROM plainjobs.worker w WHERE w.id = $1::bigint FOR SHARE)
	SELECT clock.now, (SELECT count(*) FROM seen) + (SELECT count(*) FROM locked) > 0,
		EXISTS (SELECT 1 FROM plainjobs.job WHERE state = 1 AND run_at <= clock.now),
		EXISTS (SELECT 1 FROM plainjobs.ready WHERE suspect),
		coalesce((SELECT value FROM plainjobs.meta WHERE key = 'settings'), '')
	FROM clock`

func (c *claim) run() error {
	due, suspects, err := c.begin()
	if err != nil || c.req.Limit == 0 {
		return err
	}
	if due {
		if _, err := c.t.promote(maxPromote); err != nil {
			return err
		}
	}
	c.choose()
	if len(c.left) == 0 {
		return nil
	}
	if suspects && c.req.Suspects {
		if done, err := c.takeSuspect(); done || err != nil {
			return err
		}
	}
	for rounds := 0; rounds < expiredRounds && len(c.stuck) < maxStuck && len(c.jobs) < c.req.Limit && c.bytes > 0; {
		stuck := len(c.stuck)
		picks, err := c.find(false, c.req.Limit-len(c.jobs))
		if err != nil {
			return err
		}
		expired, err := c.take(picks)
		switch {
		case err != nil:
			return err
		case expired > 0:
			rounds++
		case len(c.stuck) == stuck:
			rounds = expiredRounds
		}
	}
	if len(c.stuck) > 0 && len(c.jobs) == 0 {
		c.t.b.stuck.Store(time.Now().Add(stuckPause).UnixNano())
	}
	slices.SortFunc(c.jobs, inClaimOrder)
	return nil
}

// begin renews or registers the worker's row and reads the settings. It reports
// whether jobs are due and whether there are suspects.
func (c *claim) begin() (due, suspects bool, err error) {
	t := c.t
	var registered bool
	var version string
	err = t.each(beginClaim, []any{c.req.Worker.ID, c.req.Worker.Lease.Microseconds()}, func(r *sql.Rows) error {
		return r.Scan(&t.clock, &registered, &due, &suspects, &version)
	})
	if err == nil {
		c.all, err = t.settingsOf(version)
	}
	c.now = t.clock
	switch {
	case err != nil || registered:
	case !c.req.Register:
		err = rejected{backend.ErrWorkerGone}
	default:
		err = t.register(c.req.Worker)
	}
	return due, suspects, err
}

// choose finds the names whose jobs may be claimed, and how many of each. Limits are
// looked up for the names of which there are jobs.
func (c *claim) choose() {
	c.left, c.slots = map[string]int{}, startable(&c.req)
	if c.all[everything].paused {
		c.t.b.special.Store(time.Now().Add(specialFor).UnixNano())
		return
	}
	asked := c.t.b.askedNames(&c.req)
	for i, name := range asked.names {
		s := c.all[name]
		if s.paused || s.Limited() {
			c.t.b.special.Store(time.Now().Add(specialFor).UnixNano())
		}
		if !s.paused && (!s.Limited() || c.slots > 0) {
			c.left[name] = int(asked.most[i])
		}
	}
}

// selectLive returns the place of the first span with a job that has not expired.
const selectLive = `
	SELECT v.place - 1 FROM unnest($1::text::bigint[], $2::text::bigint[]) WITH ORDINALITY AS v(first, last, place)
	CROSS JOIN LATERAL (
		SELECT 1 FROM plainjobs.job j WHERE j.id BETWEEN v.first AND v.last AND j.state = 3
			AND (j.expires_at IS NULL OR j.expires_at > $3::bigint) LIMIT 1) l
	ORDER BY v.place LIMIT 1`

// takeSuspect claims the first suspect if it precedes all other jobs.
func (c *claim) takeSuspect() (bool, error) {
	for range expiredRounds { // the suspect found may have expired
		suspects, err := c.find(true, 1)
		if err != nil || len(suspects) == 0 {
			return false, err
		}
		others, err := c.find(false, maxSuspectWindow)
		if err != nil {
			return false, err
		}
		firsts, lasts := make([]int64, len(others)), make([]int64, len(others))
		for i := range others {
			firsts[i], lasts[i] = others[i].first, others[i].until
		}
		behind := false
		err = c.t.each(selectLive, []any{intArray(firsts), intArray(lasts), c.now}, func(r *sql.Rows) error {
			place := 0
			err := r.Scan(&place)
			behind = others[place].before(&suspects[0].span)
			return err
		})
		if err != nil || behind {
			return false, err
		}
		expired, err := c.take(suspects)
		if err != nil || expired == 0 || len(c.jobs) > 0 {
			return len(c.jobs) > 0, err
		}
	}
	return false, nil
}
