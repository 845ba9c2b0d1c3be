package mysql

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

// expiredRounds bounds how often a claim searches again because the jobs that it found had
// expired, or other claims had taken them.
const expiredRounds = 8

// maxStuck bounds how many jobs with locked keys a claim passes over before it gives up.
const maxStuck = 100

// stuckPause is how long a waiting worker then pauses before it claims again.
const stuckPause = 20 * time.Millisecond

// maxSuspectWindow bounds the jobs that a claim compares with the first suspect.
const maxSuspectWindow = 100

// lockRounds bounds how often a claim searches again because limited names allowed less than
// it had read without locks.
const lockRounds = 3

// A claim is one run of Claim.
type claim struct {
	t                *tx
	req              backend.ClaimRequest
	now              int64
	all              settings
	bytes            int
	jobs             []backend.Job
	stuck            map[int64]bool // jobs whose rows or keys another transaction has locked
	members, waiters []int64        // claimed jobs that count in gates, and those that have waited behind one
	raced            bool           // other claims had locked spans that this one wanted

	left    map[string]int // how many more jobs of a name may be claimed
	slots   int            // how many more jobs of limited names
	allowed map[string]int // how many more jobs of a limited name, as far as it was looked up
	locked  map[string]bool
}

// Claim implements [backend.Backend].
func (b *Backend) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if err := check.Claim(req); err != nil {
		return nil, fmt.Errorf("mysql: claim: %w", err)
	}
	var c claim
	err := b.write(ctx, "claim", func(t *tx) error {
		c = claim{t: t, req: req, bytes: cmp.Or(req.MaxBytes, backend.DefaultMaxBytes), stuck: map[int64]bool{}, allowed: map[string]int{}, locked: map[string]bool{}}
		return c.run()
	})
	if err != nil {
		return nil, err
	}
	b.leases.Add(c.jobs)
	return c.jobs, nil
}

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
	for rounds := 0; rounds < expiredRounds && len(c.stuck) < maxStuck && len(c.jobs) < c.req.Limit && c.bytes > 0; rounds++ {
		stuck := len(c.stuck)
		picks, err := c.find(false, c.req.Limit-len(c.jobs))
		if err != nil {
			return err
		}
		expired, err := c.take(picks)
		if err != nil {
			return err
		}
		if expired == 0 && len(c.stuck) == stuck && (!c.raced || len(c.jobs) > 0) {
			break
		}
	}
	if len(c.stuck) > 0 && len(c.jobs) == 0 {
		c.t.b.stuck.Store(time.Now().Add(stuckPause).UnixNano())
	}
	slices.SortFunc(c.jobs, inClaimOrder)
	return c.readGatings()
}

func inClaimOrder(a, b backend.Job) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.RunAt.Compare(b.RunAt), cmp.Compare(a.ID, b.ID))
}

// startable returns how many jobs of a claim will start at once.
func startable(req *backend.ClaimRequest) int { return req.Limit - req.Prefetch }

// selectBegin locks the worker's row and reads the facts that decide how the claim continues.
const selectBegin = `
	SELECT ` + now + `, COALESCE(w.id, 0), COALESCE(w.renewed_at, 0), COALESCE(w.lease, 0),
		EXISTS (SELECT 1 FROM plainjobs_scheduled WHERE run_at <= ` + now + `),
		EXISTS (SELECT 1 FROM plainjobs_ready WHERE suspect = 1),
		(SELECT number FROM plainjobs_meta WHERE key_text = 'settings'), (SELECT number FROM plainjobs_meta WHERE key_text = 'last_id')
	FROM (SELECT 1 AS one) facts LEFT JOIN plainjobs_worker w ON w.id = ? `

const (
	shared    = `LOCK IN SHARE MODE`
	exclusive = `FOR UPDATE`
)

// begin renews or registers the worker's row and reads the settings. It reports whether jobs
// are due and whether there are suspects. A row that was renewed within a hundredth of its
// lease is only locked, so that concurrent claims of one worker do not wait for each other.
func (c *claim) begin() (due, suspects bool, err error) {
	t := c.t
	lease := c.req.Worker.Lease
	lock := exclusive
	if last, ok := t.b.renewed.Load(c.req.Worker.ID); ok && time.Since(last.(time.Time)) < lease/200 {
		lock = shared
	}
	var id, renewed, stored int64
	err = t.each(selectBegin+lock, []any{c.req.Worker.ID}, func(r *sql.Rows) error {
		return r.Scan(&t.clock, &id, &renewed, &stored, &due, &suspects, &t.version, &t.floor)
	})
	if err != nil {
		return false, false, err
	}
	c.now = t.clock
	if c.all, err = t.settings(); err != nil {
		return false, false, err
	}
	fresh := stored == lease.Microseconds() && renewed <= t.clock && t.clock-renewed <= stored/100
	switch {
	case id == 0 && !c.req.Register:
		err = rejected{backend.ErrWorkerGone}
	case id == 0:
		err = t.register(c.req.Worker)
	case fresh:
	default: // a lock for reading becomes one for writing: the claim runs again if another one does so
		err = t.later(updateSeen, c.now, lease.Microseconds(), c.req.Worker.ID)
	}
	if err == nil && !fresh {
		t.b.noteRenewed(c.req.Worker.ID)
	}
	return due, suspects, err
}

// noteRenewed notes that a worker's row was renewed.
func (b *Backend) noteRenewed(worker int64) {
	size := 0
	b.renewed.Range(func(any, any) bool { size++; return size < 100 })
	if size >= 100 { // workers that have ended
		b.renewed.Clear()
	}
	b.renewed.Store(worker, time.Now())
}

// choose finds the names whose jobs may be claimed, and how many of each. Limits are looked up
// for the names of which there are jobs.
func (c *claim) choose() {
	c.left, c.slots = map[string]int{}, startable(&c.req)
	if c.all[everything].paused {
		return
	}
	for _, name := range c.req.Names {
		n := c.req.Limit
		if most, ok := c.req.MaxPerName[name]; ok {
			n = min(n, most)
		}
		s := c.all[name]
		if n > 0 && !s.paused && (!s.Limited() || c.slots > 0) {
			c.left[name] = n
		}
	}
}

// selectLive returns the ID of a job of a span that has not expired.
const selectLive = `
	SELECT id FROM plainjobs_job WHERE id BETWEEN ? AND ? AND state = 3 AND (expires_at IS NULL OR expires_at > ?) LIMIT 1`

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
		for i := range others {
			o := &others[i]
			if !o.before(&suspects[0].span) {
				break
			}
			if live, err := c.t.ids(selectLive, o.first, o.until, c.now); err != nil || len(live) > 0 {
				return false, err
			}
		}
		expired, err := c.take(suspects)
		if err != nil || expired == 0 || len(c.jobs) > 0 {
			return len(c.jobs) > 0, err
		}
	}
	return false, nil
}
