package postgrestest

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// testCompletePlan completes jobs when the statistics date from an empty table: each
// must be looked up by its ID.
func (d Driver) testCompletePlan(t *testing.T) {
	s := d.schema(t)
	s.open(t, &postgres.Options{Schema: s.name})
	s.exec(t, "ANALYZE "+s.name+".job")
	const insert = `INSERT INTO %s.job (created_at, run_at, finished_at, max_attempts, state, priority, name, payload, seed)
		SELECT 0, 0, 0, 1, %d, 0, 'a', '{}', 7 FROM generate_series(1, %d) AS i`
	s.exec(t, fmt.Sprintf(insert, s.name, backend.Done, 20000))
	s.exec(t, fmt.Sprintf(insert, s.name, backend.Pending, 2000))
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var settled sql.NullString
	complete := fmt.Sprintf(`SELECT %s.complete_jobs('{20001}', '{20100}', '{7}', '{}', '{}')::text`, s.name)
	if err := tx.QueryRowContext(t.Context(), complete).Scan(&settled); err != nil || settled.Valid {
		t.Fatalf("complete_jobs = %v, %v; want all of them done", settled.String, err)
	}
	read := 0
	const query = "SELECT pg_stat_get_xact_tuples_returned($1::text::regclass) + pg_stat_get_xact_tuples_returned($2::text::regclass)"
	if err := tx.QueryRowContext(t.Context(), query, s.name+".job", s.name+".job_pkey").Scan(&read); err != nil {
		t.Fatal(err)
	}
	if read > 300 {
		t.Errorf("completing 100 of 2000 running jobs read %d rows", read)
	}
}
