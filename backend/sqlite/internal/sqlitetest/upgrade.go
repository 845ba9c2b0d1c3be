package sqlitetest

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// oldRows are jobs of each state in tables of the first version: scheduled, and
// due, blocked by the next, pending, pending, running, of a worker that is gone,
// done, failed, cancelled, and a suspect.
const oldRows = `
	INSERT INTO plainjobs_names (id, name) VALUES (1, 'a');
	INSERT INTO plainjobs_jobs (id, name, state, priority, max_attempts, created_at, run_at, finished_at, suspect, flags, serial_key, worker, token, payload) VALUES
		(1, 1, 1, 0, 3, 1, 5, 1, 0, 0, NULL, -4611686018427387904, -4611686018427387904, x'31'),
		(2, 1, 2, 0, 3, 1, 2, 1, 0, 4, 'k',  -4611686018427387904, -4611686018427387904, x'32'),
		(3, 1, 3, 0, 3, 1, 4, 1, 0, 4, 'k',  -4611686018427387904, -4611686018427387904, x'33'),
		(4, 1, 3, 0, 3, 1, 3, 1, 0, 0, NULL, -4611686018427387904, -4611686018427387904, x'34'),
		(5, 1, 4, 0, 3, 1, 1, 1, 0, 0, NULL, 99, 77, x'35'),
		(6, 1, 5, 0, 3, 1, 1, 2000000000000000, 0, 0, NULL, 0, 0, x'36'),
		(7, 1, 6, 0, 3, 1, 1, 2000000000000000, 0, 0, NULL, 0, 0, x'37'),
		(8, 1, 7, 0, 3, 1, 1, 2000000000000000, 0, 0, NULL, 0, 0, x'38'),
		(9, 1, 3, 0, 3, 1, 1, 1, 1, 0, NULL, -4611686018427387904, -4611686018427387904, x'39');
	INSERT INTO plainjobs_serials (name, key, job) VALUES (1, 'k', 3);
	INSERT INTO plainjobs_settings (name, keep_rows) VALUES (1, 12345);
	INSERT INTO plainjobs_counts (name, state, jobs) VALUES (1, 1, 1), (1, 2, 1), (1, 3, 3), (1, 4, 1), (1, 5, 1), (1, 6, 1), (1, 7, 1);
	CREATE TABLE plainjobs_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
	INSERT INTO plainjobs_meta (key, value) VALUES ('store', 'old'), ('schema', '1');`

// makeOld creates a database with the first version of the schema and rows.
func (d driver) makeOld(t *testing.T, rows string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "jobs.db")
	text, err := os.ReadFile("../migrations/001_jobs.sql")
	if err != nil {
		t.Fatal(err)
	}
	db := pool(t, d.name, path)
	for _, script := range []string{"PRAGMA journal_mode = WAL", string(text), rows} {
		if _, err := db.Exec(script); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// testUpgradeReaps opens a database with the first version of the schema. It has
// finished jobs whose retention has ended and a worker whose lease has expired.
func (d driver) testUpgradeReaps(t *testing.T) {
	path := d.makeOld(t, strings.ReplaceAll(oldRows, "2000000000000000", "1")+`
		INSERT INTO plainjobs_workers (id, host, pid, started_at, seen_at, lease, jobs, schedules, presence)
		VALUES (99, 'h', 1, 1, 1, 30000000, '["a"]', '[]', '');`)
	b := mustOpen(t, d.open, path, nil)
	r, err := b.Reap(t.Context(), backend.ReapRequest{By: 1})
	if err != nil || r.Pruned != 3 || len(r.Workers) > 0 {
		t.Errorf("Reap = %+v, %v, want three jobs pruned and no worker dead", r, err)
	}
	if workers, err := b.Workers(t.Context()); err != nil || len(workers) != 1 || workers[0].Alive || workers[0].Running != 1 {
		t.Errorf("Workers = %+v, %v, want one that is silent and holds a job", workers, err)
	}
	r, err = b.Reap(t.Context(), backend.ReapRequest{By: 1, Expired: true})
	if err != nil || r.Rescued != 1 || len(r.Workers) != 1 {
		t.Errorf("Reap = %+v, %v, want the job rescued", r, err)
	}
	checkInvariants(t, pool(t, d.name, path))
}

// testUpgrade opens a database with the first version of the schema and jobs in each
// state, and runs the jobs.
func (d driver) testUpgrade(t *testing.T) {
	path := d.makeOld(t, oldRows)
	b := mustOpen(t, d.open, path, nil)
	ctx := t.Context()
	claim := func(suspects bool) (ids []int64) {
		t.Helper()
		jobs, err := b.Claim(ctx, backend.ClaimRequest{
			Worker: backend.Worker{ID: 1, Lease: time.Hour}, Register: true, Names: []string{"a"}, Limit: 10, Suspects: suspects,
		})
		if err != nil {
			t.Fatal(err)
		}
		var done []backend.Completion
		for _, j := range jobs {
			ids = append(ids, j.ID)
			done = append(done, backend.Completion{Lease: j.Lease})
			if want := string(rune('0' + j.ID)); j.ID < 10 && string(j.Payload) != want {
				t.Errorf("job %d has the payload %q, want %q", j.ID, j.Payload, want)
			}
		}
		if lost, err := b.Complete(ctx, done); err != nil || len(lost) > 0 {
			t.Fatalf("Complete = %v, %v", lost, err)
		}
		return ids
	}
	want := func(what string, got []int64, ids ...int64) {
		t.Helper()
		if !slices.Equal(got, ids) {
			t.Errorf("%s: jobs %v were claimed, want %v", what, got, ids)
		}
	}
	for _, id := range []int64{5, 6} { // running, and done
		if i, err := b.Get(ctx, id); err != nil || !i.StartedAt.IsZero() {
			t.Errorf("job %d was started at %v, %v; nothing is known of that", id, i.StartedAt, err)
		}
	}
	if names, err := b.Names(ctx); err != nil || len(names) != 1 || names[0].History.Rows != 12345 || names[0].MaxCrashes != 0 {
		t.Errorf("Names = %+v, %v, want the settings that were stored", names, err)
	}
	push(t, b, "a") // job 10
	if n := count(t, b); n != 10 {
		t.Errorf("there are %d jobs, want 10", n)
	}
	if _, err := b.Reap(ctx, backend.ReapRequest{}); err != nil {
		t.Fatal(err)
	}
	want("the suspects", append(claim(true), claim(true)...), 5, 9)
	want("by time", claim(false), 4, 3, 1, 10)
	want("the one that was blocked", claim(false), 2)
	retry := backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{6, 7, 8}}}
	if _, err := b.Operate(ctx, retry); err != nil {
		t.Fatal(err)
	}
	want("the finished ones, retried", claim(false), 6, 7, 8)
	checkInvariants(t, pool(t, d.name, path))
	if s, err := b.Schema(ctx); err != nil || s.Stored != s.Known || !strings.Contains(s.SQL, "plainjobs_jobs") {
		t.Errorf("Schema = %d of %d, %v", s.Stored, s.Known, err)
	}
}

// oldStatements are of kinds that programs with the tables of version 2 prepare.
var oldStatements = []string{
	`SELECT id FROM plainjobs_jobs INDEXED BY plainjobs_pending WHERE state = 3 AND suspect = 0 AND name = 1 ORDER BY priority DESC, run_at, id LIMIT 1`,
	`SELECT worker FROM plainjobs_jobs INDEXED BY plainjobs_running WHERE state = 4 AND worker > 0 ORDER BY worker LIMIT 1`,
	`SELECT coalesce(max(id), 0) + 1 FROM plainjobs_jobs`,
	`SELECT n.name, c.state, c.jobs FROM plainjobs_counts c JOIN plainjobs_names n ON n.id = c.name`,
	`SELECT name, paused FROM plainjobs_settings`,
	`SELECT done, total FROM plainjobs_progress WHERE job = 1`,
	`INSERT INTO plainjobs_jobs (name, state, priority, max_attempts, created_at, run_at, finished_at, payload) VALUES (1, 3, 0, 1, 1, 1, 1, x'')`,
	`INSERT INTO plainjobs_counts (name, state, jobs) VALUES (1, 3, 1) ON CONFLICT (name, state) DO UPDATE SET jobs = jobs + excluded.jobs`,
	`INSERT INTO plainjobs_schedules (name, definition, next_at) VALUES ('s', 'd', 1) ON CONFLICT (name) DO UPDATE SET definition = excluded.definition`,
	`INSERT INTO plainjobs_starts (name, slot, jobs) VALUES (1, 1, 1)`,
	`UPDATE plainjobs_workers SET seen_at = 1 WHERE id = 99`,
	`UPDATE plainjobs_jobs SET state = 4 WHERE id IN (1, 2)`,
	`UPDATE plainjobs_jobs SET state = 5 WHERE +state = 4 AND id BETWEEN 1 AND 9 AND +token = 1 + id`,
	`DELETE FROM plainjobs_errors WHERE job = 1`,
	`DELETE FROM plainjobs_results WHERE job = 1`,
	`DELETE FROM plainjobs_keys WHERE name = 1`,
	`DELETE FROM plainjobs_serials WHERE name = 1`,
}

// testUpgradeUnderOldProgram upgrades the tables while another program has prepared
// its statements. All of them fail, and say why.
func (d driver) testUpgradeUnderOldProgram(t *testing.T) {
	path := d.makeOld(t, oldRows+`
		INSERT INTO plainjobs_workers (id, host, pid, started_at, seen_at, lease, jobs, schedules, presence)
		VALUES (99, 'h', 1, 1, 1, 30000000, '["a"]', '[]', '');
		CREATE TABLE application (a, b);`)
	old := pool(t, d.name, path)
	old.SetMaxOpenConns(1)
	prepared := make([]*sql.Stmt, len(oldStatements))
	for i, query := range oldStatements {
		var err error
		if prepared[i], err = old.Prepare(query); err != nil { //nolint:sqlclosecheck // it closes with the pool
			t.Fatalf("%s: %v", query, err)
		}
	}
	b := mustOpen(t, d.open, path, nil)
	for i, query := range oldStatements {
		_, err := prepared[i].Exec()
		if err == nil || !strings.Contains(err.Error(), "a newer program has upgraded the tables to version 3") {
			t.Errorf("%s: %v, want an error that says why", query, err)
		}
	}
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Hour}, Register: true, Names: []string{"a"}, Limit: 10})
	if err != nil || slices.ContainsFunc(jobs, func(j backend.Job) bool { return j.ID == 5 }) {
		t.Errorf("Claim = %v, %v, want no job that the old program runs", jobs, err)
	}
	// The application may go on changing its own tables.
	for _, query := range []string{
		"ALTER TABLE application RENAME TO app", "ALTER TABLE app RENAME COLUMN a TO c", "ALTER TABLE app DROP COLUMN b", "VACUUM",
	} {
		if _, err := old.Exec(query); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	checkInvariants(t, old)
}
