package postgrestest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// makeOld makes the tables as the first versions of the schema had them.
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

// testUpgrade opens tables of an older version that many use: transactions that
// lock jobs and then change them, as claims do. The server finds a deadlock when
// one has waited for a while. These have waited already when the upgrade begins
// to, so that it is what the server would end, again and again.
func (d Driver) testUpgrade(t *testing.T) {
	pgcluster.Own(t) // where the role may say when a deadlock is looked for
	s := d.schema(t)
	s.makeOld(t, "001_jobs.sql", "002_functions.sql")
	s.exec(t, fmt.Sprintf(`INSERT INTO %s.jobs (created_at, run_at, finished_at, max_attempts, state, priority, name, payload)
		SELECT 0, 0, 0, 1, 3, 0, 'a', '{}' FROM generate_series(1, 50000)`, s.name))
	s.exec(t, fmt.Sprintf("INSERT INTO %s.changes (name, state, jobs) VALUES ('a', 3, 50000)", s.name))
	db, err := sql.Open(d.Name, s.with("options='-c deadlock_timeout=10ms'"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
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
				_ = use() // some may be ended by the server
			}
		})
	}
	b, err := d.Open(s.dsn, &postgres.Options{Schema: s.name})
	if err != nil {
		t.Fatalf("Open of tables that are in use: %v", err)
	}
	defer b.Close()
	stop()
	wg.Wait()
	push(t, b, "a", 1)
	if n := count(t, b, backend.Pending); n != 50001 {
		t.Errorf("%d jobs wait, want 50001", n)
	}
}
