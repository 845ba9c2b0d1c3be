package postgres

import (
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pgcluster.Stop()
	os.Exit(code)
}

// With many pending jobs, what reads the jobs that claims lease reads the range of each
// claim, and not all jobs.
func TestHeldPlan(t *testing.T) {
	db, err := sql.Open("pgx", pgcluster.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := New(db, &Options{Schema: "held_plan", NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	exec := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), b.sql(query)); err != nil {
			t.Fatal(err)
		}
	}
	defer exec("DROP SCHEMA held_plan CASCADE")
	if _, err := b.Push(t.Context(), []backend.NewJob{{Name: "a", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	w := backend.Worker{ID: 7, Lease: time.Hour}
	if _, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 1}); err != nil {
		t.Fatal(err)
	}
	exec(`INSERT INTO plainjobs.job (created_at, run_at, finished_at, max_attempts, state, priority, name, payload, seed)
		SELECT 0, 0, 0, 1, 3, 0, 'a', '{}', 7 FROM generate_series(1, 100000) AS i`)
	exec("ANALYZE plainjobs.job")
	for _, query := range []string{selectHeld, countHeld, deleteEmpty, selectWorkers} {
		if text := planOf(t, db, b.sql(strings.ReplaceAll(query, "$1::bigint", "7"))); strings.Contains(text, "Seq Scan on job ") || !strings.Contains(text, "job_pkey") {
			t.Errorf("%s\nreads all jobs:\n%s", query, text)
		}
	}
}

// planOf returns the plan of a query.
func planOf(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN "+query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan, "\n")
}
