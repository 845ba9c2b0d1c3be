package postgrestest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// makeOld makes the tables of an early version of the schema.
func (s *schema) makeOld(t *testing.T, files ...string) {
	t.Helper()
	s.exec(t, "CREATE SCHEMA "+s.name)
	s.exec(t, "CREATE TABLE "+s.name+".meta (key text PRIMARY KEY, value text NOT NULL)")
	for _, name := range files {
		text, err := os.ReadFile("../migrations/" + name)
		if err != nil {
			t.Fatal(err)
		}
		s.exec(t, strings.ReplaceAll(string(text), "plainjobs.", s.name+"."))
	}
	s.exec(t, fmt.Sprintf("INSERT INTO %s.meta (key, value) VALUES ('store', 'old'), ('schema', '%d')", s.name, len(files)))
}

// testUpgrade opens tables of an older version while many transactions use them, which
// lock jobs and then change them, as claims do. The server ends the transaction that
// detects a deadlock, after its deadlock_timeout. These have a short one, so they have
// checked before the upgrade begins to wait, and the server would end the upgrade,
// again and again.
func (d Driver) testUpgrade(t *testing.T) {
	pgcluster.Own(t) // whose role may set deadlock_timeout
	s := d.schema(t)
	s.makeOld(t, "001_jobs.sql", "002_functions.sql")
	s.exec(t, fmt.Sprintf(`INSERT INTO %s.jobs (created_at, run_at, finished_at, max_attempts, state, priority, name, payload)
		SELECT 0, 0, 0, 1, 3, 0, 'a', '{}' FROM generate_series(1, 50000)`, s.name))
	s.exec(t, fmt.Sprintf("INSERT INTO %s.changes (name, state, jobs) VALUES ('a', 3, 50000)", s.name))
	db, err := sql.Open(d.Name, s.with("options", "-c deadlock_timeout=10ms"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var refused atomic.Int64
	use := func() error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var id int64
		query := fmt.Sprintf("SELECT id FROM %s.jobs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED", s.name)
		if err := tx.QueryRowContext(ctx, query).Scan(&id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE %s.jobs SET worker = 0 WHERE id = $1", s.name), id); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := use(); err != nil && strings.Contains(err.Error(), outdated) {
					refused.Add(1)
				}
			}
		})
	}
	b, err := d.Open(s.dsn, &postgres.Options{Schema: s.name})
	if err != nil {
		t.Fatalf("Open of tables in use: %v", err)
	}
	defer b.Close()
	until(t, func() bool { return refused.Load() >= 8 })
	stop()
	wg.Wait()
	push(t, b, "a", 1)
	if n := count(t, b, backend.Pending); n != 50001 {
		t.Errorf("%d jobs wait, want 50001", n)
	}
}

// outdated is in the error of a program that has the old tables open.
const outdated = "a newer program has upgraded the tables"

// oldRows are jobs in each state: scheduled, due, blocked by the next, pending (two),
// running with a worker that is dead, done, failed, cancelled, and a suspect.
const oldRows = `
	INSERT INTO plainjobs.jobs (id, name, state, priority, max_attempts, created_at, run_at, finished_at, suspect, flags, serial_key, worker, token, payload)
	OVERRIDING SYSTEM VALUE VALUES
		(1, 'a', 1, 0, 3, 1, 5, 1, false, 0, NULL, 0, 0, '1'),
		(2, 'a', 2, 0, 3, 1, 2, 1, false, 4, 'k', 0, 0, '2'),
		(3, 'a', 3, 0, 3, 1, 4, 1, false, 4, 'k', 0, 0, '3'),
		(4, 'a', 3, 0, 3, 1, 3, 1, false, 0, NULL, 0, 0, '4'),
		(5, 'a', 4, 0, 3, 1, 1, 1, false, 0, NULL, 99, 77, '5'),
		(6, 'a', 5, 0, 3, 1, 1, 2000000000000000, false, 0, NULL, 0, 0, '6'),
		(7, 'a', 6, 0, 3, 1, 1, 2000000000000000, false, 0, NULL, 0, 0, '7'),
		(8, 'a', 7, 0, 3, 1, 1, 2000000000000000, false, 0, NULL, 0, 0, '8'),
		(9, 'a', 3, 0, 3, 1, 1, 1, true, 0, NULL, 0, 0, '9');
	SELECT setval('plainjobs.jobs_id_seq', 9);
	INSERT INTO plainjobs.serials (name, key, job) VALUES ('a', 'k', 3);
	INSERT INTO plainjobs.settings (name, keep_rows) VALUES ('a', 12345);
	INSERT INTO plainjobs.changes (name, state, jobs) VALUES ('a', 1, 1), ('a', 2, 1), ('a', 3, 3), ('a', 4, 1), ('a', 5, 1), ('a', 6, 1), ('a', 7, 1);`

// testUpgradeReaps opens tables of the fourth version with finished jobs whose
// retention has ended, and a silent worker.
func (d Driver) testUpgradeReaps(t *testing.T) {
	s := d.schema(t)
	s.makeOld(t, "001_jobs.sql", "002_functions.sql", "003_marks.sql", "004_look.sql")
	rows := strings.ReplaceAll(oldRows, "2000000000000000", "1") + `
		INSERT INTO plainjobs.workers (id, host, pid, started_at, seen_at, lease, jobs, schedules)
		VALUES (99, 'h', 1, 1, 1, 30000000, '["a"]', '[]');`
	s.exec(t, strings.ReplaceAll(rows, "plainjobs.", s.name+"."))
	b := s.open(t, &postgres.Options{Schema: s.name})
	r, err := b.Reap(t.Context(), backend.ReapRequest{By: 1})
	if err != nil || r.Pruned != 3 || len(r.Workers) > 0 {
		t.Errorf("Reap = %+v, %v, want three jobs pruned and no worker dead", r, err)
	}
	if workers, err := b.Workers(t.Context()); err != nil || len(workers) != 1 || workers[0].Alive || workers[0].Running != 1 {
		t.Errorf("Workers = %+v, %v, want a silent one with a job", workers, err)
	}
	r, err = b.Reap(t.Context(), backend.ReapRequest{By: 1, Expired: true})
	if err != nil || r.Rescued != 1 || len(r.Workers) != 1 {
		t.Errorf("Reap = %+v, %v, want the job rescued", r, err)
	}
}

// testUpgradeJobs opens tables of the fourth and of the fifth version with jobs in each
// state, and works them off.
func (d Driver) testUpgradeJobs(t *testing.T) {
	files := []string{"001_jobs.sql", "002_functions.sql", "003_marks.sql", "004_look.sql", "005_faults.sql"}
	for n := 4; n <= len(files); n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { d.testUpgradeJobsFrom(t, files[:n]...) })
	}
}

func (d Driver) testUpgradeJobsFrom(t *testing.T, files ...string) {
	s := d.schema(t)
	s.makeOld(t, files...)
	s.exec(t, strings.ReplaceAll(oldRows, "plainjobs.", s.name+"."))
	b := s.open(t, &postgres.Options{Schema: s.name})
	ctx := t.Context()
	claim := func(suspects bool, limit int) (ids []int64) {
		t.Helper()
		jobs, err := b.Claim(ctx, backend.ClaimRequest{
			Worker: backend.Worker{ID: 1, Lease: time.Hour}, Register: true, Names: []string{"a"}, Limit: limit, Suspects: suspects,
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
	push(t, b, "a", 1) // job 10
	for _, state := range backend.States() {
		n := int64(1)
		if state == backend.Pending {
			n = 4
		}
		if got := count(t, b, state); got != n {
			t.Errorf("%d jobs are %v, want %d", got, state, n)
		}
	}
	consistent(t, b)
	if info, err := b.Get(ctx, 5); err != nil || info.State != backend.Running || info.Worker != 99 {
		t.Errorf("Get = %+v, %v; want the job that the old program runs", info, err)
	}
	want("not what the old program runs", claim(false, 1), 4)
	if _, err := b.Reap(ctx, backend.ReapRequest{}); err != nil {
		t.Fatal(err)
	}
	if names, err := b.Names(ctx); err != nil || len(names) != 1 || names[0].History.Rows != 12345 || names[0].MaxCrashes != 0 {
		t.Errorf("Names = %+v, %v, want the settings that were stored", names, err)
	}
	want("the suspects", append(claim(true, 10), claim(true, 10)...), 5, 9)
	want("by time", claim(false, 10), 3, 1, 10)
	want("the blocked job", claim(false, 10), 2)
	retry := backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{6, 7, 8}}}
	if _, err := b.Operate(ctx, retry); err != nil {
		t.Fatal(err)
	}
	want("the finished jobs, retried", claim(false, 10), 6, 7, 8)
	consistent(t, b)
}

// testOutdated runs each kind of statement of programs that opened the tables of the
// fifth version, most of them prepared before the upgrade. All fail and say why.
func (d Driver) testOutdated(t *testing.T) {
	s := d.schema(t)
	s.makeOld(t, "001_jobs.sql", "002_functions.sql", "003_marks.sql", "004_look.sql", "005_faults.sql")
	s.exec(t, strings.ReplaceAll(oldRows, "plainjobs.", s.name+"."))
	var statements []*sql.Stmt
	queries := strings.Split(strings.ReplaceAll(`
		SELECT id, state FROM plainjobs.jobs WHERE id = 1 FOR UPDATE;
		SELECT plainjobs.now_us();
		UPDATE plainjobs.jobs SET state = 4, token = 1, worker = 1 WHERE id = 4;
		DELETE FROM plainjobs.jobs WHERE id = 4;
		INSERT INTO plainjobs.jobs (name, state, priority, max_attempts, created_at, run_at, finished_at, payload) VALUES ('a', 3, 0, 1, 1, 1, 1, '') RETURNING id;
		INSERT INTO plainjobs.jobs (id, name, state, priority, max_attempts, created_at, run_at, finished_at, payload)
			OVERRIDING SYSTEM VALUE VALUES (99, 'a', 3, 0, 1, 1, 1, 1, '');
		INSERT INTO plainjobs.workers (id, host, pid, started_at, seen_at, lease, jobs, schedules) VALUES (1, 'h', 1, 1, 1, 1, '[]', '[]')
			ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at;
		UPDATE plainjobs.workers SET seen_at = 1, lease = 1 WHERE id = 1 RETURNING seen_at;
		INSERT INTO plainjobs.changes (name, state, jobs) VALUES ('a', 3, 1);
		INSERT INTO plainjobs.gates AS g (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET name = g.name WHERE false;
		SELECT * FROM plainjobs.settings;
		INSERT INTO plainjobs.settings (name, paused) VALUES ('a', true) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused;
		DELETE FROM plainjobs.keys;
		UPDATE plainjobs.serials SET job = 4;
		INSERT INTO plainjobs.starts (name, slot, jobs) VALUES ('a', 1, 1) ON CONFLICT (name, slot) DO UPDATE SET jobs = 1;
		SELECT * FROM plainjobs.schedules;
		SELECT last_value FROM plainjobs.jobs_id_seq;
		SELECT * FROM plainjobs.claim(1, 1, 1, '{a}', '{1}', 1, 1, false);
		SELECT * FROM plainjobs.take(1, 1, 1, '{a}', '{1}', 1, 1, false, '{1}', '{1}', '{-40000}', '{7}', '{40000}');
		SELECT * FROM plainjobs.take(1, 1, 1, '{a}', '{1}', 1, 1, false, '{1}', '{1}', '{-40000}', '{0}', '{7}', '{40000}');
		SELECT * FROM plainjobs.look('{a}', true, false, '{1}', '{1}', '{-40000}', '{7}', '{40000}');
		SELECT * FROM plainjobs.look('{a}', true, false, '{1}', '{1}', '{-40000}', '{0}', '{7}', '{40000}');
		SELECT plainjobs.complete('{5}', '{77}')`, "plainjobs.", s.name+"."), ";")
	for _, query := range queries {
		st, err := s.db.PrepareContext(t.Context(), query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		defer func() { _ = st.Close() }()
		statements = append(statements, st)
	}
	b := s.open(t, &postgres.Options{Schema: s.name})
	for i, query := range queries {
		for what, run := range map[string]func() (*sql.Rows, error){
			"prepared": func() (*sql.Rows, error) { return statements[i].QueryContext(t.Context()) },
			"new":      func() (*sql.Rows, error) { return s.db.QueryContext(t.Context(), query) },
		} {
			err := exhaust(run())
			if err == nil || !strings.Contains(err.Error(), outdated) {
				t.Errorf("%s, %s: %v; want an error that says that the tables were upgraded", strings.TrimSpace(query), what, err)
			}
		}
	}
	if n := count(t, b, backend.Pending); n != 3 {
		t.Errorf("%d jobs are pending, want 3", n)
	}
}

// exhaust reads all rows of a query and returns its error.
func exhaust(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}
