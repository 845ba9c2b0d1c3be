package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
)

// read calls f with a querier, and retries it where that may help. Its error is that
// of the operation op.
func (b *Backend) read(ctx context.Context, op string, f func(querier) error) error {
	leave, err := b.enter()
	if err == nil {
		defer leave()
		err = b.alone(ctx, true, f)
	}
	return b.failed(ctx, op, err)
}

// interpreted has f run in a transaction whose statements the server does not compile
// (JIT). The planner cannot tell how few jobs a span has, or match a filter. It takes
// their statements for expensive, and would compile them for a tenth of a second, or for
// a second on a busy server.
func interpreted(ctx context.Context, f func(querier) error) func(querier) error {
	return func(q querier) error {
		conn := q.(*sql.Conn) // of alone
		_, err := conn.ExecContext(ctx, `BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL jit TO off`)
		if err == nil {
			err = f(q)
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, `COMMIT`)
		}
		if err != nil {
			rollback(conn, err)
		}
		return err
	}
}

// A jobRow is a job as scanned.
type jobRow struct {
	ID          int64         `db:"id"`
	Name        string        `db:"name"`
	State       backend.State `db:"state"`
	Priority    int16         `db:"priority"`
	Payload     []byte        `db:"payload"`
	Metadata    []byte        `db:"metadata"`
	Failures    int           `db:"failures"`
	MaxAttempts int           `db:"max_attempts"`
	Suspect     bool          `db:"suspect"`
	Crashes     int           `db:"crashes"`
	CreatedAt   int64         `db:"created_at"`
	RunAt       int64         `db:"run_at"`
	FinishedAt  int64         `db:"finished_at"`
	Worker      int64         `db:"worker"`
	Flags       flag          `db:"flags"`
	UniqueKey   string        `db:"unique_key"`
	SerialKey   string        `db:"serial_key"`
	FairKey     string        `db:"fair_key"`
	ExpiresAt   sql.NullInt64 `db:"expires_at"`
	BlockedBy   int64         `db:"blocked_by"`
	Done        int64         `db:"done"`
	Total       int64         `db:"total"`
	Now         int64         `db:"now"`
	KeyUntil    int64         `db:"key_until"`
	StartedAt   int64         `db:"started_at"`
	Waits       string        `db:"waits"`  // as JSON, or empty
	Gates       string        `db:"gates"`  // an array, or empty
	Waiter      string        `db:"waiter"` // an array, or empty
	LastError   string        `db:"last_error"`
}

func (r *jobRow) info() backend.Info {
	info := backend.Info{
		ID: r.ID, Name: r.Name, State: r.State, Priority: r.Priority, Payload: r.Payload, Metadata: r.Metadata,
		Failures: r.Failures, MaxAttempts: r.MaxAttempts, Suspect: r.Suspect, Crashes: r.Crashes,
		CreatedAt: instant(r.CreatedAt), RunAt: instant(r.RunAt), ExpiresAt: instantOrZero(r.ExpiresAt),
		UniqueKey: r.UniqueKey, SerialKey: r.SerialKey, FairKey: r.FairKey, BlockedBy: r.BlockedBy, Done: r.Done, Total: r.Total,
	}
	if r.KeyUntil > r.Now {
		info.KeyUntil = instant(r.KeyUntil)
	}
	if !r.State.Waits() && r.StartedAt != 0 {
		info.StartedAt = instant(r.StartedAt)
	}
	if r.State.Terminal() {
		info.FinishedAt, info.Dropped = instant(r.FinishedAt), r.Flags&flagDropped != 0
	}
	if r.State == backend.Running {
		info.Worker = r.Worker
		info.Cancelling = r.Flags&flagCancelling != 0
	}
	info.Waits, _ = jsonrow.Wait(r.Waits) // the server made the JSON
	info.Gating = r.gating()
	return info
}

// gating returns the gates of the job, or nil.
func (r *jobRow) gating() *backend.Gating {
	gates, err := parseInts(r.Gates)
	w := r.standing()
	if err != nil || len(gates) == 0 && w[0] == 0 { // the server made the texts
		return nil
	}
	return &backend.Gating{Gates: gates, Gate: w[0], When: backend.When(w[1])}
}

// standing returns the row of a job that waits, or waited, behind a gate: the gate, the
// condition, the delay and the expiry. It is zero if there is none.
func (r *jobRow) standing() (w [4]int64) {
	if numbers, err := parseInts(r.Waiter); err == nil && len(numbers) == len(w) {
		w = [4]int64(numbers)
	}
	return w
}

const (
	selectJob = `
		SELECT j.id, j.name, CASE WHEN c.worker IS NULL THEN j.state ELSE 4::smallint END AS state, j.priority, j.failures, j.max_attempts, j.suspect, j.crashes,
			j.created_at, j.run_at, j.finished_at, coalesce(c.worker, 0) AS worker, j.flags,
			coalesce(j.unique_key, '') AS unique_key, coalesce(j.serial_key, '') AS serial_key, j.expires_at,
			CASE WHEN j.flags & 16384 <> 0 THEN coalesce((SELECT f.key FROM plainjobs.job_fair f WHERE f.job = j.id), '') ELSE '' END AS fair_key,
			CASE WHEN j.state = 2 AND j.flags & 1024 = 0 THEN coalesce((SELECT s.job FROM plainjobs.serial_head s WHERE s.name = j.name AND s.key = j.serial_key), 0)
				ELSE 0 END AS blocked_by,
			coalesce(p.done, 0) AS done, coalesce(p.total, 0) AS total,
			coalesce((SELECT k.until FROM plainjobs.unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id), 0) AS key_until,
			CASE WHEN j.started_seed = j.seed THEN j.started_at ELSE 0 END AS started_at,
			CASE WHEN j.flags & 8192 <> 0 AND j.state = 1 THEN coalesce((SELECT json_build_object('Name', w.name, 'Key', w.key)::text
				FROM plainjobs.signal_wait w WHERE w.job = j.id), '') ELSE '' END AS waits,
			CASE WHEN j.flags & 256 <> 0 THEN ARRAY(SELECT m.gate FROM plainjobs.gate_member m WHERE m.job = j.id ORDER BY m.gate)::text ELSE '' END AS gates,
			CASE WHEN j.flags & 512 <> 0 THEN coalesce((SELECT ARRAY[w.gate, w.condition, w.delay, w.expires]::text
				FROM plainjobs.gate_waiter w WHERE w.job = j.id), '') ELSE '' END AS waiter,
			plainjobs.now_micros() AS now`
	// joinClaim joins the claim c that leases a job j.
	joinClaim = `
		LEFT JOIN LATERAL (
			SELECT k.worker FROM (
				(SELECT k.worker, k.last FROM plainjobs.claim k WHERE k.seed = j.seed AND k.first <= j.id ORDER BY k.first DESC LIMIT 1)
				UNION ALL SELECT k.worker, j.id FROM plainjobs.claim k WHERE k.jobs @> j.id AND k.seed + 0 = j.seed) k
			WHERE j.state = 3 AND k.last >= j.id) c ON true `
	fromJobs        = ` FROM plainjobs.job j LEFT JOIN plainjobs.job_progress p ON p.job = j.id` + joinClaim + `WHERE `
	selectPayload   = `, j.payload, j.metadata`
	selectLastError = `, coalesce((SELECT json_build_array(json_build_object('Attempt', e.attempt, 'At', e.at, 'Error', e.error, 'Stack', e.stack, 'Took', e.took, 'Worker', e.worker))::text
		FROM plainjobs.job_error e WHERE e.job = j.id ORDER BY e.id DESC LIMIT 1), '[]') AS last_error`
)

// Get implements [backend.Reader].
func (b *Backend) Get(ctx context.Context, id int64) (backend.Info, error) {
	var info backend.Info
	err := b.read(ctx, "get", func(q querier) error {
		rows, err := q.QueryContext(ctx, b.sql(selectOne), id) //nolint:rowserrcheck // StructScan checks it
		if err != nil {
			return err
		}
		var all []wholeRow
		if err := sqlx.StructScan(rows, &all); err != nil { // it closes rows
			return err
		}
		if len(all) == 0 {
			return rejected{fmt.Errorf("job %d: %w", id, backend.ErrNotFound)}
		}
		record, err := all[0].record()
		info = record.Info
		return err
	})
	return info, err
}

// jobs returns the jobs that a query with selectJob finds.
func (b *Backend) jobs(ctx context.Context, q querier, query string, args ...any) ([]jobRow, error) {
	rows, err := q.QueryContext(ctx, b.sql(query), args...) //nolint:rowserrcheck // StructScan checks it
	if err != nil {
		return nil, err
	}
	var all []jobRow
	err = sqlx.StructScan(rows, &all) // it closes rows
	return all, err
}

// listWindow bounds how many jobs one page examines when no index serves the filter.
const listWindow = 20_000

// selectNewest returns the greatest ID. selectEndedWindow returns the lowest ID that a page
// of failed and cancelled jobs reads.
const (
	selectNewest      = `SELECT coalesce(max(id), 0) FROM plainjobs.job`
	selectEndedWindow = `SELECT greatest(
		(SELECT j.id FROM plainjobs.job j WHERE j.state = 6 AND j.id < $1::bigint ORDER BY j.id DESC OFFSET $2::bigint LIMIT 1),
		(SELECT j.id FROM plainjobs.job j WHERE j.state = 7 AND j.id < $1::bigint ORDER BY j.id DESC OFFSET $2::bigint LIMIT 1), 0)`
	selectMemberWindow = `
		SELECT coalesce((SELECT job FROM plainjobs.gate_member WHERE gate = $1::bigint AND job < $2::bigint ORDER BY job DESC OFFSET $3::bigint LIMIT 1), 0)`
)

// List implements [backend.Reader].
func (b *Backend) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := check.List(req)
	if err != nil {
		return backend.Page{}, fmt.Errorf("postgres: list: %w", err)
	}
	columns := selectJob
	if req.Payloads {
		columns += selectPayload
	}
	if req.LastError {
		columns += selectLastError
	}
	var page backend.Page
	list := func(q querier) error {
		c, err := b.filter(ctx, q, req.Filter, req.Before)
		if err != nil {
			return err
		}
		where, args := c.page(limit + 1)
		rows, err := b.jobs(ctx, q, columns+fromJobs+where, args...)
		if err != nil {
			return err
		}
		page = backend.Page{Next: c.from}
		if len(rows) > limit {
			rows = rows[:limit]
			page.Next = rows[limit-1].ID
		}
		for i := range rows {
			info := rows[i].info()
			if rows[i].LastError != "" {
				if info.Errors, err = jsonrow.Errors(rows[i].LastError); err != nil {
					return err
				}
			}
			page.Jobs = append(page.Jobs, info)
		}
		return nil
	}
	err = b.read(ctx, "list", interpreted(ctx, list))
	return page, err
}

const selectWorkers = `
	SELECT w.id, w.host, w.pid, w.started_at, w.renewed_at, w.lease, w.jobs, w.schedules, w.process, w.version, w.stuck, abs(clock.now - w.renewed_at) < w.lease,
		(SELECT count(*) FROM plainjobs.claim h CROSS JOIN LATERAL (
			SELECT 1 FROM ` + claimedJobs + `) j WHERE h.worker = w.id)
	FROM plainjobs.worker w, (SELECT plainjobs.now_micros() AS now OFFSET 0) clock ORDER BY w.started_at, w.id`

// Workers implements [backend.Reader].
func (b *Backend) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	var workers []backend.WorkerInfo
	err := b.read(ctx, "workers", interpreted(ctx, func(q querier) error {
		workers = nil
		return b.scan(ctx, q, selectWorkers, nil, func(r *sql.Rows) error {
			var w backend.WorkerInfo
			var started, seen, lease int64
			var jobs, schedules, stuck string
			err := r.Scan(&w.ID, &w.Host, &w.PID, &started, &seen, &lease, &jobs, &schedules, &w.Process, &w.Version, &stuck, &w.Alive, &w.Running)
			if err == nil {
				w.Stuck, err = jsonrow.Stuck(stuck)
			}
			if err == nil {
				err = errors.Join(json.Unmarshal([]byte(jobs), &w.Jobs), json.Unmarshal([]byte(schedules), &w.Schedules))
			}
			w.StartedAt, w.SeenAt, w.Lease = instant(started), instant(seen), time.Duration(lease)*time.Microsecond
			workers = append(workers, w)
			return err
		})
	}))
	return workers, err
}
