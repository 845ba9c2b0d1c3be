package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// specialFor is how long claims skip claimPlain after it failed because of
// settings.
const specialFor = time.Second

const claimPlain = `
	SELECT coalesce(id, -1), coalesce(name, ''), coalesce(priority, 0), coalesce(failures, 0), coalesce(max_attempts, 0), coalesce(created_at, 0),
		coalesce(run_at, 0), coalesce(seed, 0), expires_in, unique_key, serial_key, metadata, payload, coalesce(read, 0), coalesce(flags, 0), gates::text
	FROM plainjobs.claim_jobs($1::bigint, $2::bigint, $3::text::text[], $4::text::bigint[], $5::bigint, $6::bigint, $7::boolean,
		$8::integer, $9::bigint, $10::boolean)`

// claimPlain claims with one call of a database function. It returns false if the
// names have settings, suspects, expired jobs or locked keys, which the function
// does not handle. If the answer is lost the call is repeated, as the caller would
// do: the next heartbeat reports the jobs that the lost call claimed.
func (b *Backend) claimPlain(ctx context.Context, req *backend.ClaimRequest, asked *askedNames) (jobs []backend.Job, plain bool, err error) {
	var bounds any // NULL if no name is bounded
	if slices.ContainsFunc(asked.most, func(n int64) bool { return n < int64(req.Limit) }) {
		bounds = intArray(asked.most)
	}
	for {
		from := b.position.begin(asked.names)
		jobs, read, plain, err := b.callClaim(ctx, req, asked.array, bounds, req.Limit, from, false)
		if err != nil || !plain {
			return nil, false, err
		}
		if len(jobs) == 0 && !from.whole { // there may be some before the position
			b.position.reset()
			continue
		}
		b.position.learn(from, asked.names, jobs, read, bounds != nil)
		return jobs, true, nil
	}
}

// callClaim calls the database function. plain is false if it did nothing. With
// chosen the names were chosen from next_spans.
func (b *Backend) callClaim(ctx context.Context, req *backend.ClaimRequest, names string, most any, wanted int, from scan, chosen bool) (
	jobs []backend.Job, read int64, plain bool, err error) {
	args := []any{req.Worker.ID, req.Worker.Lease.Microseconds(), names, most, wanted,
		cmp.Or(req.MaxBytes, backend.DefaultMaxBytes), req.Suspects,
		from.rank, from.runAt, chosen}
	err = b.alone(ctx, true, func(q querier) error {
		jobs, plain = nil, true
		var s plainScan // shared by all rows, to allocate once
		return b.scan(ctx, q, claimPlain, args, func(r *sql.Rows) error {
			j, err := s.job(r)
			read = s.read
			switch {
			case j.ID < 0:
				plain = false
				return err
			case j.ID == 0:
				b.stuck.Store(time.Now().Add(stuckPause).UnixNano())
				return err
			}
			jobs = append(jobs, j)
			return err
		})
	})
	if err != nil || !plain {
		return nil, 0, false, err
	}
	b.leases.AddBySeed(jobs)
	slices.SortFunc(jobs, inClaimOrder)
	if len(jobs) > 0 {
		b.compactor.due.Add(2)
	}
	return jobs, read, true, nil
}

// A plainScan scans rows of claim_jobs.
type plainScan struct {
	read                  int64
	unique, serial, gates sql.NullString
	gating                *backend.Gating // of gates
	gatingText            string
}

// job scans a row. An ID of -1 means that the claim is not plain, 0 that a job is locked.
func (s *plainScan) job(r *sql.Rows) (j backend.Job, err error) {
	var failures, attempts, created, runAt, seed int64
	var expires sql.NullInt64
	var flags flag
	err = r.Scan(&j.ID, &j.Name, &j.Priority, &failures, &attempts, &created, &runAt, &seed, &expires, &s.unique, &s.serial,
		&j.Metadata, &j.Payload, &s.read, &flags, &s.gates)
	j.Token = seed + j.ID
	j.Attempt, j.MaxAttempts = int(failures)+1, int(attempts)
	j.CreatedAt, j.RunAt = instant(created), instant(runAt)
	j.UniqueKey, j.SerialKey, j.HasSteps = s.unique.String, s.serial.String, flags&flagSteps != 0
	if expires.Valid {
		j.Expires = time.Duration(expires.Int64) * time.Microsecond
	}
	if err == nil && s.gates.Valid {
		j.Gating, err = s.gatingOf(s.gates.String)
	}
	return j, err
}

// gatingOf returns the gates of a job. Jobs that are claimed one after the other have
// mostly the same ones.
func (s *plainScan) gatingOf(text string) (*backend.Gating, error) {
	if s.gating != nil && s.gatingText == text {
		return s.gating, nil
	}
	ids, err := parseInts(text)
	if err != nil || len(ids) < 2 || len(ids) == 2 && ids[0] == 0 {
		return nil, err
	}
	g := &backend.Gating{Gate: ids[0], When: backend.When(ids[1])} //nolint:gosec // it is a When
	g.Gates = append(g.Gates, ids[2:]...)
	s.gatingText, s.gating = text, g
	return g, nil
}

func inClaimOrder(a, b backend.Job) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.RunAt.Compare(b.RunAt), cmp.Compare(a.ID, b.ID))
}

// startable returns how many jobs of a claim will start at once.
func startable(req *backend.ClaimRequest) int { return req.Limit - req.Prefetch }
