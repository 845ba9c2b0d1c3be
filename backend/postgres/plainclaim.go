package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// specialFor is how long claims skip claimPlain after it failed because of
// settings.
const specialFor = time.Second

const claimPlain = `
	SELECT coalesce(id, 0), coalesce(name, ''), coalesce(priority, 0), coalesce(failures, 0), coalesce(max_attempts, 0), coalesce(created_at, 0),
		coalesce(run_at, 0), coalesce(now, 0), expires_at, metadata, payload, coalesce(read, -1), coalesce(due, false), to_json(waiting)::text,
		unique_key, serial_key
	FROM plainjobs.take($1::bigint, $2::bigint, $3::bigint, $4::text::text[], $5::text::bigint[], $6::bigint, $7::bigint, $8::boolean,
		$9::text::integer[], $10::text::integer[], $11::text::integer[], $12::text::bigint[], $13::text::bigint[], $14::text::integer[])`

// claimPlain claims with one call of a database function. It returns false if the
// names have settings, suspects, expired jobs or locked keys, which the function
// does not handle. If the answer is lost the call is repeated, as the caller would
// do: the next heartbeat reports the jobs that the lost call claimed.
func (b *Backend) claimPlain(ctx context.Context, req backend.ClaimRequest) (jobs []backend.Job, plain bool, err error) {
	leave, err := b.enter()
	if err != nil {
		return nil, false, b.failed(ctx, "claim", err)
	}
	defer leave()
	names, most := uncapped(req)
	flight, from := b.marks.begin(names)
	var land scanResult
	err = b.alone(ctx, true, func(q querier) error {
		jobs, plain, land = nil, true, scanResult{}
		base := 1 + rand.Int64N(1<<62)
		var unique, serial sql.NullString // shared by all rows, to allocate once
		args := append([]any{req.Worker.ID, req.Worker.Lease.Microseconds(), base, textArray(names), intArray(most), req.Limit,
			cmp.Or(req.MaxBytes, backend.DefaultMaxBytes), req.Suspects}, from.args()...)
		return b.scan(ctx, q, claimPlain, args, func(r *sql.Rows) error {
			var j backend.Job
			var failures, attempts, created, runAt, now int64
			var expires sql.NullInt64
			var waiting sql.NullString
			err := r.Scan(&j.ID, &j.Name, &j.Priority, &failures, &attempts, &created, &runAt, &now, &expires, &j.Metadata, &j.Payload,
				&land.read, &land.due, &waiting, &unique, &serial)
			if err == nil && waiting.Valid && land.waiting == nil {
				err = json.Unmarshal([]byte(waiting.String), &land.waiting)
			}
			if j.ID == 0 {
				plain = land.read >= 0
				return err
			}
			land.claimed = append(land.claimed, claimedPosition{j.Name, j.Priority, position{runAt, j.ID}})
			j.Token = base + j.ID
			j.Attempt, j.MaxAttempts = int(failures)+1, int(attempts)
			j.CreatedAt, j.RunAt = instant(created), instant(runAt)
			j.UniqueKey, j.SerialKey = unique.String, serial.String
			if expires.Valid {
				j.Expires = time.Duration(expires.Int64-now) * time.Microsecond
			}
			jobs = append(jobs, j)
			return err
		})
	})
	if err != nil || !plain {
		b.marks.end(flight)
		return nil, false, b.failed(ctx, "claim", err)
	}
	b.marks.learn(flight, land)
	slices.SortFunc(jobs, inClaimOrder)
	if len(jobs) > 0 {
		b.compactor.due.Add(2)
	}
	b.compactCounts(ctx)
	return jobs, true, nil
}

// uncapped returns the names whose jobs a claim may take, sorted, and the maximum
// for each.
func uncapped(req backend.ClaimRequest) (names []string, most []int64) {
	for _, name := range slices.Compact(slices.Sorted(slices.Values(req.Names))) {
		n := req.Limit
		if c, ok := req.MaxPerName[name]; ok {
			n = min(n, c)
		}
		if n > 0 {
			names, most = append(names, name), append(most, int64(n))
		}
	}
	return names, most
}

func inClaimOrder(a, b backend.Job) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.RunAt.Compare(b.RunAt), cmp.Compare(a.ID, b.ID))
}

// startable returns how many jobs of a claim will start at once.
func startable(req *backend.ClaimRequest) int { return req.Limit - req.Prefetch }
