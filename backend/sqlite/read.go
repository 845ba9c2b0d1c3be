package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
)

// A queryer is a connection or a pool that only reads.
type queryer = sqlx.QueryerContext

// read calls f with a queryer, and again while the database is busy. The caller has
// called enter.
func (b *Backend) read(ctx context.Context, f func(queryer) error) error {
	if b.readers == nil {
		return b.writer.do(ctx, &request{op: "read", run: func(t *tx) error {
			return f(unmapped{t.w.conn})
		}})
	}
	return retry(ctx, time.Now().Add(lockWait), func() error { return f(poolQueryer(b.readers)) })
}

func poolQueryer(db *sql.DB) queryer { return sqlx.NewDb(db, "sqlite3") }

// unmapped makes a connection a queryer, without mapping of names.
type unmapped struct{ *sql.Conn }

func (c unmapped) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	rows, err := c.QueryContext(ctx, query, args...) //nolint:rowserrcheck // the caller checks it
	if err != nil {
		return nil, err
	}
	return &sqlx.Rows{Rows: rows, Mapper: sqlx.NewDb(nil, "sqlite3").Mapper}, nil
}

func (c unmapped) QueryRowxContext(context.Context, string, ...any) *sqlx.Row {
	panic("sqlite: rows are read with QueryxContext")
}

// A source runs queries.
type source interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// scan calls row for each row of a query.
func scan(ctx context.Context, q source, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() // an open query blocks checkpoints
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// A jobRow has the stored columns of a job.
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
	ExpiresAt   int64         `db:"expires_at"`
	BlockedBy   int64         `db:"blocked_by"`
	KeyUntil    int64         `db:"key_until"`
	StartedAt   int64         `db:"started_at"`
	Gates       *string       `db:"gates"`  // JSON, of a job with flagMember
	Waiter      *string       `db:"waiter"` // JSON, of a job with flagWaiter
	LastError   *string       `db:"last_error"`
}

func (r *jobRow) info(now int64) backend.Info {
	info := backend.Info{
		ID: r.ID, Name: r.Name, State: r.State, Priority: r.Priority, Payload: r.Payload, Metadata: r.Metadata,
		Failures: r.Failures, MaxAttempts: r.MaxAttempts, Suspect: r.Suspect, Crashes: r.Crashes,
		CreatedAt: instant(r.CreatedAt), RunAt: instant(r.RunAt), ExpiresAt: instantOrZero(r.ExpiresAt),
		UniqueKey: r.UniqueKey, SerialKey: r.SerialKey, FairKey: r.FairKey, BlockedBy: r.BlockedBy,
	}
	if r.KeyUntil > now {
		info.KeyUntil = instant(r.KeyUntil)
	}
	if !r.State.Waits() {
		info.StartedAt = instantOrZero(r.StartedAt)
	}
	if r.State.Terminal() {
		info.FinishedAt, info.Dropped = instant(r.FinishedAt), r.Flags&flagDropped != 0
	}
	if r.State == backend.Running {
		info.Worker = r.Worker
		info.Cancelling = r.Flags&flagCancelling != 0
	}
	info.Gating = r.gating()
	return info
}

const (
	selectJob = `
		SELECT j.id, n.name, ` + stateOf + ` AS state, j.priority, j.failures, j.max_attempts, j.suspect, j.crashes,
			j.created_at, j.run_at, j.finished_at, ` + workerOf + ` AS worker, j.flags,
			coalesce(j.unique_key, '') AS unique_key, coalesce(j.serial_key, '') AS serial_key,
			CASE WHEN j.flags & 16384 <> 0 THEN coalesce((SELECT f.key FROM plainjobs_job_fair f WHERE f.job = j.id), '') ELSE '' END AS fair_key,
			coalesce(j.expires_at, 0) AS expires_at,
			CASE WHEN j.state = 2 AND j.flags & 1024 = 0
				THEN coalesce((SELECT s.job FROM plainjobs_serial_head s WHERE s.name = j.name AND s.key = j.serial_key), 0)
				ELSE 0 END AS blocked_by,
			CASE WHEN j.flags & 256 <> 0 THEN (SELECT json_group_array(m.gate) FROM plainjobs_gate_member m WHERE m.job = j.id) END AS gates,
			CASE WHEN j.flags & 512 <> 0 THEN (SELECT json_array(w.gate, w.condition, w.waits, w.delay, w.expires)
				FROM plainjobs_gate_waiter w WHERE w.job = j.id) END AS waiter,
			coalesce((SELECT k.until FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id), 0) AS key_until,
			CASE WHEN j.started_seed = j.seed THEN j.started_at ELSE 0 END AS started_at`
	fromJobs        = ` FROM plainjobs_job j JOIN plainjobs_job_name n ON n.id = j.name `
	selectPayload   = `, j.payload, j.metadata`
	selectLastError = `, (SELECT json_array(json_object('Attempt', e.attempt, 'At', e.at, 'Error', e.error, 'Stack', e.stack, 'Took', e.took, 'Worker', e.worker))
		FROM plainjobs_job_error e WHERE e.job = j.id ORDER BY e.id DESC LIMIT 1) AS last_error`

	selectProgress = `SELECT done, total FROM plainjobs_job_progress WHERE job = ?`
)

// Get implements [backend.Reader].
func (b *Backend) Get(ctx context.Context, id int64) (backend.Info, error) {
	leave, err := b.enter()
	if err != nil {
		return backend.Info{}, failed(ctx, "get", err)
	}
	defer leave()
	var info backend.Info
	err = b.read(ctx, func(q queryer) error {
		var rows []wholeRow
		if err := sqlx.SelectContext(ctx, q, &rows, b.sql(selectOne), id); err != nil {
			return err
		}
		if len(rows) == 0 {
			return rejected{backend.ErrNotFound}
		}
		record, err := rows[0].record(b.now())
		info = record.Info
		return err
	})
	if errors.Is(err, backend.ErrNotFound) {
		return backend.Info{}, fmt.Errorf("sqlite: get %d: %w", id, backend.ErrNotFound)
	}
	return info, failed(ctx, "get", err)
}

// listWindow is how many jobs one page reads if no index has them.
const listWindow = 20_000

// List implements [backend.Reader].
func (b *Backend) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := check.List(req)
	if err != nil {
		return backend.Page{}, fmt.Errorf("sqlite: list: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.Page{}, failed(ctx, "list", err)
	}
	defer leave()
	var page backend.Page
	err = b.read(ctx, func(q queryer) error {
		page, err = b.list(ctx, q, req, limit)
		return err
	})
	return page, failed(ctx, "list", err)
}

func (b *Backend) list(ctx context.Context, q queryer, req backend.ListRequest, limit int) (backend.Page, error) {
	columns := selectJob
	if req.Payloads {
		columns += selectPayload
	}
	if req.LastError {
		columns += selectLastError
	}
	query, args, from, err := b.listQuery(ctx, q, req, columns+fromJobs)
	if err != nil {
		return backend.Page{}, err
	}
	var rows []jobRow
	if err := sqlx.SelectContext(ctx, q, &rows, b.sql(query), append(args, limit+1)...); err != nil {
		return backend.Page{}, err
	}
	page := backend.Page{Next: from}
	if len(rows) > limit {
		rows = rows[:limit]
		page.Next = rows[limit-1].ID
	}
	for i := range rows {
		info := rows[i].info(b.now())
		if rows[i].Flags&flagProgress != 0 {
			if err := b.progressOf(ctx, q, &info); err != nil {
				return backend.Page{}, err
			}
		}
		if rows[i].Flags&flagWaits != 0 && info.State == backend.Scheduled {
			if err := b.waitOf(ctx, q, &info); err != nil {
				return backend.Page{}, err
			}
		}
		if rows[i].LastError != nil {
			if info.Errors, err = jsonrow.Errors(*rows[i].LastError); err != nil {
				return backend.Page{}, err
			}
		}
		page.Jobs = append(page.Jobs, info)
	}
	return page, nil
}

func (b *Backend) progressOf(ctx context.Context, q queryer, info *backend.Info) error {
	return scan(ctx, q, b.sql(selectProgress), []any{info.ID}, func(r *sql.Rows) error { return r.Scan(&info.Done, &info.Total) })
}

// selectEndedWindow returns the lowest ID that a page of failed or cancelled jobs
// reads.
const selectEndedWindow = `
	SELECT coalesce((SELECT id FROM plainjobs_job INDEXED BY plainjobs_job_ended
		WHERE state = (?1+0) AND state IN (6, 7) AND id < (?2+0) ORDER BY id DESC LIMIT 1 OFFSET (?3+0)), 0)`

// selectMemberWindow is selectEndedWindow for the members of a gate.
const selectMemberWindow = `
	SELECT coalesce((SELECT job FROM plainjobs_gate_member WHERE gate = (?+0) AND job < (?+0) ORDER BY job DESC LIMIT 1 OFFSET (?+0)), 0)`

// endedInWindow finds failed and cancelled jobs by their index.
const endedInWindow = `j.id IN (SELECT x.id FROM plainjobs_job x INDEXED BY plainjobs_job_ended
	WHERE x.state IN (6, 7) AND x.id >= ? AND x.id < ?)`

const selectRunningIDs = `
	SELECT x.id FROM plainjobs_claim c CROSS JOIN plainjobs_job x ON x.id BETWEEN c.first AND c.last WHERE +x.state = 3 AND +x.seed = c.seed`

// listQuery returns a query for a page, without its limit, and the lowest ID that the
// query reads. That is 0 if the query reads all jobs.
func (b *Backend) listQuery(ctx context.Context, q source, req backend.ListRequest, columns string) (query string, args []any, from int64, err error) {
	var before int64
	err = scan(ctx, q, b.sql(`SELECT coalesce(max(id), 0) + 1 FROM plainjobs_job`), nil,
		func(r *sql.Rows) error { return r.Scan(&before) })
	if err != nil {
		return "", nil, 0, err
	}
	if req.Before != 0 {
		before = min(before, req.Before)
	}
	query, args = columns+`WHERE j.id < ?`, []any{before}
	where := func(condition string, values ...any) { query, args = query+` AND `+condition, append(args, values...) }
	switch {
	case req.IDs != nil:
		where(`j.id IN (SELECT value FROM json_each(?))`, jsonOf(req.IDs))
		if len(req.States) > 0 {
			where(stateOf + inList(req.States))
		}
	case req.Gate != 0:
		// As many members as one page reads of all jobs in other cases.
		err := scan(ctx, q, b.sql(selectMemberWindow), []any{req.Gate, before, listWindow}, func(r *sql.Rows) error { return r.Scan(&from) })
		if err != nil {
			return "", nil, 0, err
		}
		where(`j.id IN (SELECT m.job FROM plainjobs_gate_member m WHERE m.gate = ? AND m.job >= ? AND m.job < ?)`, req.Gate, from, before)
		if len(req.States) > 0 {
			where(stateOf + inList(req.States))
		}
	case req.Behind != 0:
		if len(req.States) > 0 {
			where(stateOf + inList(req.States))
		}
	case all(req.States, backend.Running):
		where(`j.id IN (` + selectRunningIDs + `)`)
	case all(req.States, backend.Failed, backend.Cancelled):
		// An index has only these, so a page reads as many of each as of all jobs in
		// other cases.
		for _, state := range req.States {
			err := scan(ctx, q, b.sql(selectEndedWindow), []any{int64(state), before, listWindow}, func(r *sql.Rows) error {
				lowest := int64(0)
				err := r.Scan(&lowest)
				from = max(from, lowest)
				return err
			})
			if err != nil {
				return "", nil, 0, err
			}
		}
		if all(req.States, req.States[0]) {
			where(fmt.Sprintf(`j.state = %d AND j.state IN (6, 7)`, req.States[0]))
			where(`j.id >= ?`, from)
		} else {
			where(endedInWindow, from, before)
		}
	default:
		from = max(0, before-listWindow)
		where(`j.id >= ?`, from)
		if len(req.States) > 0 {
			where(stateOf + inList(req.States))
		}
		if req.Error != "" { // few jobs of a window have an error
			where(`j.id IN (SELECT e.job FROM plainjobs_job_error e WHERE e.job >= ? AND e.job < ? AND instr(e.error, ?) > 0)`, from, before, req.Error)
		}
	}
	if len(req.Names) > 0 {
		where(`+j.name IN (SELECT n.id FROM json_each(?) v CROSS JOIN plainjobs_job_name n ON n.name = v.value)`, jsonOf(req.Names))
	}
	for key, value := range req.Metadata {
		where(`j.metadata IS NOT NULL AND CASE WHEN json_valid(CAST(j.metadata AS TEXT)) THEN EXISTS (
			SELECT 1 FROM json_each(CAST(j.metadata AS TEXT)) m WHERE m.key = ? AND m.type = 'text' AND m.value = ?) END`, key, value)
	}
	if req.Key != "" {
		where(`(j.unique_key = ? OR j.serial_key = ? OR j.flags & 16384 <> 0 AND EXISTS (SELECT 1 FROM plainjobs_job_fair f WHERE f.job = j.id AND f.key = ?))`, req.Key, req.Key, req.Key)
	}
	if req.HasKey {
		where(`EXISTS (SELECT 1 FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND (k.held = 1 OR k.until > ?))`, b.now())
	}
	if req.Gate != 0 && req.IDs != nil {
		where(`EXISTS (SELECT 1 FROM plainjobs_gate_member m WHERE m.job = j.id AND m.gate = ?)`, req.Gate)
	}
	if req.Behind != 0 {
		where(`j.id IN (SELECT w.job FROM plainjobs_gate_waiter w WHERE w.gate = ?)`, req.Behind)
	}
	if req.Error != "" {
		where(`instr((SELECT e.error FROM plainjobs_job_error e WHERE e.job = j.id ORDER BY e.id DESC LIMIT 1), ?) > 0`, req.Error)
	}
	if !req.Since.IsZero() {
		where(`j.finished_at >= ?`, req.Since.UnixMicro())
	}
	if !req.Until.IsZero() {
		where(`j.finished_at < ?`, req.Until.UnixMicro())
	}
	return query + ` ORDER BY j.id DESC LIMIT ?`, args, from, nil
}

// all reports whether there are states and each is one of those.
func all(states []backend.State, those ...backend.State) bool {
	return len(states) > 0 && !slices.ContainsFunc(states, func(s backend.State) bool { return !slices.Contains(those, s) })
}

// inList returns the condition for a state to be one of states.
func inList(states []backend.State) string {
	numbers := make([]string, len(states))
	for i, s := range states {
		numbers[i] = strconv.Itoa(int(s))
	}
	return ` IN (` + strings.Join(numbers, ", ") + `)`
}

// jsonOf returns IDs or names as a JSON array.
func jsonOf[T int64 | string](list []T) string {
	text, _ := json.Marshal(list) // such lists encode
	return string(text)
}

const selectCounts = `
	SELECT n.name, c.state, c.jobs FROM plainjobs_job_count c JOIN plainjobs_job_name n ON n.id = c.name
	WHERE c.jobs > 0 ORDER BY n.name, c.state`

// Count implements [backend.Reader].
func (b *Backend) Count(ctx context.Context) ([]backend.Count, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "count", err)
	}
	defer leave()
	var counts []backend.Count
	err = b.read(ctx, func(q queryer) error {
		counts = nil
		return scan(ctx, q, b.sql(selectCounts), nil, func(r *sql.Rows) error {
			var c backend.Count
			err := r.Scan(&c.Name, &c.State, &c.Jobs)
			counts = append(counts, c)
			return err
		})
	})
	return counts, failed(ctx, "count", err)
}
