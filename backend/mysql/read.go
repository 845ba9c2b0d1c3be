package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectJob = `
		SELECT j.id, j.name, CASE WHEN ` + isRunning + ` THEN 4 ELSE j.state END, j.priority, j.failures, j.max_attempts, j.suspect, j.crashes,
			j.created_at, j.run_at, j.finished_at, j.flags, COALESCE(j.unique_key, ''), COALESCE(j.serial_key, ''), COALESCE(j.expires_at, 0),
			CASE j.state WHEN 3 THEN COALESCE((SELECT c.worker FROM plainjobs_claim c WHERE c.seed = j.seed AND c.first <= j.id ORDER BY c.first DESC LIMIT 1), 0)
				ELSE 0 END,
			CASE WHEN j.state = 2 AND j.flags & 1024 = 0 THEN COALESCE((SELECT s.job FROM plainjobs_serial_head s
				WHERE s.name = j.name AND s.key_text = j.serial_key), 0) ELSE 0 END,
			COALESCE(p.done, 0), COALESCE(p.total, 0),
			COALESCE((SELECT k.until_at FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key_text = j.unique_key AND k.job = j.id), 0),
			CASE WHEN j.started_seed = j.seed THEN j.started_at ELSE 0 END,
			CASE WHEN j.flags & 8192 <> 0 AND j.state = 1 THEN COALESCE((SELECT w.name FROM plainjobs_signal_wait w WHERE w.job = j.id), '') ELSE '' END,
			CASE WHEN j.flags & 8192 <> 0 AND j.state = 1 THEN COALESCE((SELECT w.key_text FROM plainjobs_signal_wait w WHERE w.job = j.id), '') ELSE '' END,
			CASE WHEN j.flags & 16384 <> 0 THEN COALESCE((SELECT f.key_text FROM plainjobs_job_fair f WHERE f.job = j.id), '') ELSE '' END,
			j.ending, ` + now
	noPayloads = `, NULL, NULL, NULL`
	payloads   = `, j.payload, j.metadata, NULL`
	withLogs   = `, j.payload, j.metadata, p.logs`

	joinProgress = ` LEFT JOIN plainjobs_job_progress p ON p.job = j.id WHERE `
	fromJobs     = ` FROM plainjobs_job j FORCE INDEX (PRIMARY)`
	fromEnded    = ` FROM plainjobs_ended e FORCE INDEX (PRIMARY) STRAIGHT_JOIN plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = e.job`
)

// A jobRow is a job as it is read.
type jobRow struct {
	backend.Info
	flags    flag
	ending   backend.Ending
	standing standing
}

// scan reads a row of selectJob.
func (j *jobRow) scan(r *sql.Rows) error {
	var created, runAt, finished, expires, keyUntil, started, now int64
	var logs []byte
	err := r.Scan(&j.ID, &j.Name, &j.State, &j.Priority, &j.Failures, &j.MaxAttempts, &j.Suspect, &j.Crashes,
		&created, &runAt, &finished, &j.flags, &j.UniqueKey, &j.SerialKey, &expires, &j.Worker, &j.BlockedBy, &j.Done, &j.Total,
		&keyUntil, &started, &j.Waits.Name, &j.Waits.Key, &j.FairKey, &j.ending, &now, &j.Payload, &j.Metadata, &logs)
	j.Logs = lifecycle.Logs(logs)
	j.CreatedAt, j.RunAt = instant(created), instant(runAt)
	if expires != 0 {
		j.ExpiresAt = instant(expires)
	}
	if keyUntil > now {
		j.KeyUntil = instant(keyUntil)
	}
	if !j.State.Waits() && started != 0 {
		j.StartedAt = instant(started)
	}
	if j.State.Terminal() {
		j.FinishedAt, j.Dropped = instant(finished), j.flags&flagDropped != 0
	}
	if j.State == backend.Running {
		j.Cancelling = j.flags&flagCancelling != 0
	} else {
		j.Worker = 0
	}
	return err
}

// jobs returns the jobs that a query with selectJob finds.
func (b *Backend) jobs(ctx context.Context, q reader, query string, args ...any) (all []jobRow, err error) {
	err = b.scan(ctx, q, query, args, func(r *sql.Rows) error {
		var j jobRow
		err := j.scan(r)
		all = append(all, j)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, b.addGatings(ctx, q, all)
}

// Get implements [backend.Reader].
func (b *Backend) Get(ctx context.Context, id int64) (backend.Info, error) {
	var info backend.Info
	err := b.readAtOnce(ctx, "get", func(q querier) error {
		all, err := b.whole(ctx, q, withLogs, `j.id = ?`, id)
		if err == nil && len(all) == 0 {
			err = rejected{fmt.Errorf("job %d: %w", id, backend.ErrNotFound)}
		}
		if err == nil {
			info = all[0].Info
		}
		return err
	})
	return info, err
}

// listWindow bounds how many jobs one page examines when no table serves the filter.
const listWindow = 20_000

// A condition selects jobs.
type condition struct {
	tables string
	order  string // the column of the IDs
	where  string
	args   []any
	from   int64 // the ID at which the search stops, though there may be more jobs below it
}

// and adds a condition to c.
func (c *condition) and(text string, args ...any) {
	if c.where != "" {
		c.where += " AND "
	}
	c.where += text
	c.args = append(c.args, args...)
}

// page returns the end of a query for limit jobs, and its parameters.
func (c *condition) page(limit int) (where string, args []any) {
	return c.where + ` ORDER BY ` + c.order + ` DESC LIMIT ?`, append(slices.Clone(c.args), limit)
}

// filter returns the condition for a page of jobs below an ID; 0 is no bound.
func (b *Backend) filter(ctx context.Context, q reader, f backend.Filter, before int64) (condition, error) {
	newest := int64(0)
	err := b.scan(ctx, q, `SELECT COALESCE(MAX(id), 0) FROM plainjobs_job`, nil, func(r *sql.Rows) error { return r.Scan(&newest) })
	if err != nil {
		return condition{}, err
	}
	if before == 0 || before > newest {
		before = newest + 1
	}
	return b.filterBelow(ctx, q, f, before)
}

// only reports whether f selects jobs in a state alone.
func only(f backend.Filter, state backend.State) bool {
	return len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s backend.State) bool { return s != state })
}

// filterBelow is filter for an ID that is not zero.
func (b *Backend) filterBelow(ctx context.Context, q reader, f backend.Filter, before int64) (condition, error) {
	c := condition{tables: fromJobs, order: `j.id`}
	c.and(`j.id < ?`, before)
	switch {
	case f.IDs != nil:
		c.among(f.IDs)
	case f.Gate != 0 || f.Behind != 0:
		if err := c.gated(ctx, b, q, f, before); err != nil {
			return c, err
		}
	case only(f, backend.Running):
		if err := c.running(ctx, b, q, before); err != nil {
			return c, err
		}
	case (only(f, backend.Failed) || only(f, backend.Cancelled)) && f.Key == "" && f.Error == "" && len(f.Metadata) == 0:
		c.tables, c.order = fromEnded, `e.job`
		c.and(`e.state = ? AND e.job < ?`, int64(f.States[0]), before)
	default:
		c.from = max(0, before-listWindow)
		c.and(`j.id >= ?`, c.from)
	}
	c.inStates(f)
	c.matching(f)
	if len(f.Metadata) == 0 {
		return c, nil
	}
	return b.withMetadata(ctx, q, c, f.Metadata)
}

// among adds that the ID is one of a list.
func (c *condition) among(ids []int64) {
	if len(ids) == 0 {
		c.and(`FALSE`)
	} else {
		c.and(`j.id IN (?)`, idList(ids))
	}
}

// inStates adds the states of f.
func (c *condition) inStates(f backend.Filter) {
	switch {
	case len(f.States) == 0:
	case only(f, backend.Running):
		c.and(isRunning)
	case only(f, backend.Pending):
		c.and(`j.state = 3 AND NOT ` + isRunning)
	case !slices.Contains(f.States, backend.Running) && !slices.Contains(f.States, backend.Pending):
		c.and(`j.state IN (?)`, stateList(f.States))
	default:
		c.and(`CASE WHEN `+isRunning+` THEN 4 ELSE j.state END IN (?)`, stateList(f.States))
	}
}

func stateList(states []backend.State) (list idList) {
	for _, s := range states {
		list = append(list, int64(s))
	}
	return list
}

// matching adds the conditions of f that are neither IDs, states nor metadata.
func (c *condition) matching(f backend.Filter) {
	if f.Gate != 0 {
		c.and(`EXISTS (SELECT 1 FROM plainjobs_gate_member o WHERE o.job = j.id AND o.gate = ?)`, f.Gate)
	}
	if f.Behind != 0 {
		c.and(`EXISTS (SELECT 1 FROM plainjobs_gate_waiter o WHERE o.job = j.id AND o.gate = ?)`, f.Behind)
	}
	if len(f.Names) > 0 {
		var names []any
		for _, name := range f.Names {
			names = append(names, name)
		}
		c.and(`j.name IN (`+strings.Repeat("?, ", len(names)-1)+`?)`, names...)
	}
	if f.Key != "" {
		c.and(`(j.unique_key = ? OR j.serial_key = ? OR j.flags & 16384 <> 0 AND EXISTS (
			SELECT 1 FROM plainjobs_job_fair f WHERE f.job = j.id AND f.key_text = ?))`, f.Key, f.Key, f.Key)
	}
	if f.HasKey {
		c.and(`EXISTS (SELECT 1 FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key_text = j.unique_key AND k.job = j.id
			AND (k.held = 1 OR k.until_at > ` + now + `))`)
	}
	if f.Error != "" {
		c.and(`LOCATE(?, (SELECT e.error FROM plainjobs_job_error e WHERE e.job = j.id ORDER BY e.number DESC LIMIT 1)) > 0`, f.Error)
	}
	if !f.Since.IsZero() {
		c.and(`j.finished_at >= ?`, ceilMicro(f.Since))
	}
	if !f.Until.IsZero() {
		c.and(`j.finished_at < ?`, ceilMicro(f.Until))
	}
}

// errEnough ends a scan that has found enough.
var errEnough = errors.New("enough")

// withMetadata returns c for the newest of its jobs whose metadata have the pairs. The store
// reads the metadata itself: the servers compare JSON in their own ways.
func (b *Backend) withMetadata(ctx context.Context, q reader, c condition, pairs map[string]string) (condition, error) {
	f := backend.Filter{Metadata: pairs}
	var ids []int64
	query := `SELECT j.id, j.metadata` + c.tables + ` WHERE ` + c.where + ` AND j.metadata IS NOT NULL ORDER BY ` + c.order + ` DESC`
	err := b.scan(ctx, q, query, c.args, func(r *sql.Rows) error {
		var job backend.Info
		if err := r.Scan(&job.ID, &job.Metadata); err != nil {
			return err
		}
		if lifecycle.Matches(f, &job) {
			ids = append(ids, job.ID)
		}
		if len(ids) > maxListed {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	c.among(ids)
	return c, err
}

// maxListed is the number of jobs of the largest page.
const maxListed = 1000

const selectClaims = `SELECT seed, first, last FROM plainjobs_claim WHERE first < ? ORDER BY last DESC LIMIT ?`

// running adds the ranges of the newest claims below an ID. The others are of later pages.
func (c *condition) running(ctx context.Context, b *Backend, q reader, before int64) error {
	var ranges []string
	var args []any
	err := b.scan(ctx, q, selectClaims, []any{before, maxRanges + 1}, func(r *sql.Rows) error {
		var seed, first, last int64
		err := r.Scan(&seed, &first, &last)
		if len(ranges) == maxRanges {
			c.from = last + 1
			return err
		}
		ranges, args = append(ranges, `j.id BETWEEN ? AND ? AND j.seed = ?`), append(args, first, last, seed)
		return err
	})
	if len(ranges) == 0 {
		c.and(`FALSE`)
		return err
	}
	c.and(`j.id >= ?`, c.from)
	c.and("("+strings.Join(ranges, " OR ")+")", args...)
	return err
}

// ceilMicro returns t in microseconds, rounded up.
func ceilMicro(t time.Time) int64 {
	micros := t.UnixMicro()
	if time.UnixMicro(micros).Before(t) {
		micros++
	}
	return micros
}

// List implements [backend.Reader].
func (b *Backend) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := check.List(req)
	if err != nil {
		return backend.Page{}, fmt.Errorf("mysql: list: %w", err)
	}
	columns := selectJob + noPayloads
	if req.Payloads {
		columns = selectJob + payloads
	}
	var page backend.Page
	err = b.read(ctx, "list", func(q querier) error {
		c, err := b.filter(ctx, q, req.Filter, req.Before)
		if err != nil {
			return err
		}
		where, args := c.page(limit + 1)
		rows, err := b.jobs(ctx, q, columns+c.tables+joinProgress+where, args...)
		if err != nil {
			return err
		}
		page = backend.Page{Next: c.from}
		if len(rows) > limit {
			rows = rows[:limit]
			page.Next = rows[limit-1].ID
		}
		for i := range rows {
			page.Jobs = append(page.Jobs, rows[i].Info)
		}
		if req.LastError {
			return b.addLastErrors(ctx, q, page.Jobs)
		}
		return nil
	})
	return page, err
}

// addLastErrors adds to each job the last of its errors.
func (b *Backend) addLastErrors(ctx context.Context, q reader, jobs []backend.Info) error {
	at := make(map[int64]*backend.Info, len(jobs))
	var ids []int64
	for i := range jobs {
		at[jobs[i].ID], ids = &jobs[i], append(ids, jobs[i].ID)
	}
	if len(ids) == 0 {
		return nil
	}
	return b.errorsOf(ctx, q, ids, func(id int64, e backend.RunError) { at[id].Errors = []backend.RunError{e} })
}

const selectWorkers = `
	SELECT id, host, pid, started_at, renewed_at, lease, jobs, schedules, process, version, stuck, ABS(` + now + ` - renewed_at) < lease
	FROM plainjobs_worker ORDER BY started_at, id`

// Workers implements [backend.Reader].
func (b *Backend) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	var workers []backend.WorkerInfo
	err := b.readAtOnce(ctx, "workers", func(q querier) error {
		workers = nil
		err := b.scan(ctx, q, selectWorkers, nil, func(r *sql.Rows) error {
			var w backend.WorkerInfo
			var started, seen, lease int64
			var jobs, schedules []byte
			var stuck string
			err := r.Scan(&w.ID, &w.Host, &w.PID, &started, &seen, &lease, &jobs, &schedules, &w.Process, &w.Version, &stuck, &w.Alive)
			if err == nil {
				w.Stuck, err = jsonrow.Stuck(stuck)
			}
			if err == nil {
				err = errors.Join(json.Unmarshal(jobs, &w.Jobs), json.Unmarshal(schedules, &w.Schedules))
			}
			w.StartedAt, w.SeenAt, w.Lease = instant(started), instant(seen), time.Duration(lease)*time.Microsecond
			workers = append(workers, w)
			return err
		})
		for i := range workers {
			jobs, _, heldErr := b.heldJobs(ctx, q, workers[i].ID)
			err = cmp.Or(err, heldErr)
			workers[i].Running = int64(len(jobs))
		}
		return err
	})
	return workers, err
}
