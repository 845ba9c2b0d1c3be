// Package adopt takes over the waiting jobs of other libraries: it moves rows of their
// tables into a store in the same database.
package adopt

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Options of Run.
type Options struct {
	// Queue restricts the jobs to those of one queue of the library. Empty is all.
	Queue string
	// Attempts is the library's maximum number of attempts, where its table does not have
	// it. Zero is the library's default, if it has one.
	Attempts int
	// Rename has the new names of jobs.
	Rename map[string]string
	// Bytes encodes payloads that are not JSON as a JSON string in base64, which is what a
	// job of []byte decodes.
	Bytes bool
	// DryRun counts and changes nothing.
	DryRun bool
}

// A Report says what Run did. Adopted and Left count jobs, by name and by reason.
type Report struct {
	Adopted map[string]int64 `json:"adopted"`
	Left    map[string]int64 `json:"left"`
	// Schedules has cron expressions by name. Run does not move schedules, because a
	// program defines its schedules.
	Schedules map[string]string `json:"schedules"`
}

// A library reads the tables of a queue.
type library struct {
	store    string // a Kind
	table    string
	attempts int    // by default; 0 if the table has them, -1 if there is no default
	waiting  string // a query, with the arguments queue, maximum attempts, skipped IDs, limit
	remove   string // a statement that deletes a row by its ID
	scan     func(*sql.Rows, *Options) (found, error)
	left     string // a query for reasons and counts, with the arguments queue and maximum attempts
	// schedules is a query for names and expressions, or empty.
	schedules string
}

// A found job waits in the library's table. Skip is the reason why it stays there.
type found struct {
	id    any
	queue string
	job   backend.NewJob
	extra map[string]string // metadata
	skip  string
}

var libraries = map[string]*library{"river": &river, "goqite": &goqite, "backlite": &backlite, "plainjob": &plainjob}

// Libraries returns the names of the libraries, in order.
func Libraries() []string { return slices.Sorted(maps.Keys(libraries)) }

// Kind returns the kind of a store's database: "sqlite", "postgres" or another.
func Kind(b backend.Backend) string {
	kind, _, _ := strings.Cut(backend.Describe(b).Store, " ") // the driver follows
	return kind
}

// The limits of a transaction.
const (
	batch      = 500 // jobs
	batchBytes = 8 << 20
)

// Run moves the waiting jobs of a library from its table in db to the store b, which is in
// the same database. Each transaction deletes some hundreds of rows and pushes their jobs.
// So if Run ends early, each job is either still the library's or already the store's, and
// another Run continues.
func Run(ctx context.Context, db *sql.DB, b backend.Backend, name string, o Options) (Report, error) {
	r := Report{Adopted: map[string]int64{}, Left: map[string]int64{}, Schedules: map[string]string{}}
	l := libraries[name]
	if l == nil {
		return r, fmt.Errorf("%w: unknown library %q: it is one of %s", backend.ErrInvalid, name, strings.Join(Libraries(), ", "))
	}
	if err := l.check(ctx, db, b, name, &o); err != nil {
		return r, err
	}
	m := mover{library: l, name: name, db: db, store: b.(backend.TxPusher), options: &o, report: &r, skipped: []any{}}
	for {
		n, err := m.step(ctx)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		if n == 0 {
			return r, m.rest(ctx)
		}
	}
}

// check returns why the jobs cannot be moved, and fills in the default of Options.Attempts.
func (l *library) check(ctx context.Context, db *sql.DB, b backend.Backend, name string, o *Options) error {
	if _, ok := b.(backend.TxPusher); !ok || Kind(b) != l.store {
		return fmt.Errorf("%w: the jobs of %s move only within a %s database", errors.ErrUnsupported, name, l.store)
	}
	if o.Attempts < 0 || o.Attempts > 0 && l.attempts == 0 {
		return fmt.Errorf("%w: the maximum number of attempts is %d: leave it out, each job of %s has its own", backend.ErrInvalid, o.Attempts, name)
	}
	if o.Attempts == 0 {
		o.Attempts = l.attempts
	}
	if o.Attempts < 0 {
		return fmt.Errorf("%w: %s does not store how many attempts a job may have: give the maximum of the queue's configuration", backend.ErrInvalid, name)
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+l.table+" LIMIT 1) AS first").Scan(&n); err != nil {
		return fmt.Errorf("the table %s of %s must be in the same database: %w", l.table, name, err)
	}
	return nil
}

// A mover holds the state of one Run.
type mover struct {
	*library
	name    string
	db      *sql.DB
	store   backend.TxPusher
	options *Options
	report  *Report
	skipped []any // IDs
}

// step moves a batch in one transaction and returns how many jobs it has seen.
func (m *mover) step(ctx context.Context) (n int, err error) {
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	all, err := m.read(ctx, tx)
	if err != nil {
		return 0, err
	}
	var jobs []backend.NewJob
	for i := range all {
		f := &all[i]
		if m.convert(f); f.skip != "" {
			continue
		}
		jobs = append(jobs, f.job)
		if m.options.DryRun {
			continue
		}
		result, err := tx.ExecContext(ctx, m.remove, f.id)
		if err != nil {
			return 0, err
		}
		if rows, err := result.RowsAffected(); err != nil || rows != 1 {
			return 0, fmt.Errorf("delete %v: %d rows, %w", f.id, rows, errors.Join(err, backend.ErrUnavailable))
		}
	}
	if len(jobs) > 0 && !m.options.DryRun {
		if _, err := m.store.PushTx(ctx, tx, jobs); err != nil {
			return 0, err
		}
		if err := tx.Commit(); err != nil {
			return 0, err
		}
	}
	m.count(all)
	return len(all), nil
}

// read returns the next jobs that wait.
func (m *mover) read(ctx context.Context, tx *sql.Tx) (all []found, err error) {
	skipped, err := json.Marshal(m.skipped)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, m.waiting, m.options.Queue, m.options.Attempts, string(skipped), batch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for bytes := 0; bytes < batchBytes && rows.Next(); {
		f, err := m.scan(rows, m.options)
		if err != nil {
			return nil, err
		}
		bytes += len(f.job.Payload)
		all = append(all, f)
	}
	return all, rows.Err()
}

// convert completes the job of f, or sets why it is left.
func (m *mover) convert(f *found) {
	if f.skip != "" {
		return
	}
	if to, ok := m.options.Rename[f.job.Name]; ok {
		f.job.Name = to
	}
	switch {
	case !engine.ValidName(f.job.Name):
		f.skip = fmt.Sprintf("the name %q is not one that plainjobs accepts: rename it", f.job.Name)
	case json.Valid(f.job.Payload):
	case m.options.Bytes:
		f.job.Payload, _ = json.Marshal(f.job.Payload) // of bytes, which always encode
	default:
		f.skip = f.job.Name + ": the payload is not JSON"
	}
	f.job.MaxAttempts = max(1, f.job.MaxAttempts)
	pairs := map[string]string{"adopted_from": m.name, "adopted_id": fmt.Sprint(f.id), "adopted_queue": f.queue}
	maps.Copy(pairs, f.extra)
	f.job.Metadata, _ = json.Marshal(pairs) // of strings, which always encode
}

// count adds a batch to the report.
func (m *mover) count(all []found) {
	for i := range all {
		f := &all[i]
		if f.skip != "" {
			m.report.Left[f.skip]++
		} else {
			m.report.Adopted[f.job.Name]++
		}
		if f.skip != "" || m.options.DryRun {
			m.skipped = append(m.skipped, f.id)
		}
	}
}

// rest reports the jobs that do not wait, and the schedules.
func (m *mover) rest(ctx context.Context) error {
	err := pairs(ctx, m.db, func(reason string, n int64) { m.report.Left[reason] += n }, m.left, m.options.Queue, m.options.Attempts)
	if err == nil && m.schedules != "" {
		err = pairs(ctx, m.db, func(name, expression string) { m.report.Schedules[name] = expression }, m.schedules)
	}
	return err
}

// pairs calls add with each row of a query.
func pairs[V any](ctx context.Context, db *sql.DB, add func(string, V), query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var value V
		if err := rows.Scan(&key, &value); err != nil {
			return err
		}
		add(key, value)
	}
	return rows.Err()
}
