package postgrestest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// findings returns the findings of a store, by name.
func findings(t *testing.T, b *postgres.Backend) map[string]backend.Finding {
	t.Helper()
	all, err := b.Examine(t.Context(), backend.ExamineRequest{})
	if err != nil {
		t.Fatalf("Examine: %v", err)
	}
	found := map[string]backend.Finding{}
	for _, f := range all {
		if _, ok := found[f.Name]; ok || f.Name == "" || f.Value == "" || (f.Problem == "") != (f.Fix == "") {
			t.Errorf("the finding %+v is incomplete or duplicate", f)
		}
		found[f.Name] = f
	}
	return found
}

// wantProblem fails unless a finding is a problem whose fix contains the texts.
func wantProblem(t *testing.T, f backend.Finding, fix ...string) {
	t.Helper()
	if f.Problem == "" {
		t.Errorf("the finding %+v is no problem", f)
	}
	for _, text := range fix {
		if !strings.Contains(f.Fix, text) {
			t.Errorf("the finding %+v does not say %q", f, text)
		}
	}
}

func wantNoProblem(t *testing.T, found map[string]backend.Finding, names ...string) {
	t.Helper()
	for _, name := range names {
		if f, ok := found[name]; !ok || f.Problem != "" {
			t.Errorf("%s is %+v, want no problem", name, f)
		}
	}
}

// testExamine examines a store with various problems.
func (d Driver) testExamine(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	push(t, b, "a", 1)
	found := findings(t, b)
	wantNoProblem(t, found, "PostgreSQL", "server", "durability of pushes", "synchronous_commit", "autovacuum", "dead rows", "clock", "connections", "pooler",
		"notifications")
	if f := found["pooler"]; f.Value != "none" {
		t.Errorf("without a pooler the finding is %+v", f)
	}
	if pgcluster.Owned() {
		wantProblem(t, found["fsync"], "postgresql.conf") // the tests' server has it off
	}

	// Rows restored without their sequence.
	s.exec(t, fmt.Sprintf("ALTER SEQUENCE %s.job_id_seq RESTART WITH 1", s.name))
	_, err := b.Push(t.Context(), []backend.NewJob{newJob("a")})
	if err == nil || !strings.Contains(err.Error(), "the sequence of job IDs is behind the table") {
		t.Errorf("Push with a sequence behind the table = %v", err)
	}
	s.exec(t, fmt.Sprintf("ALTER SEQUENCE %s.job_id_seq RESTART WITH 1", s.name))
	found = findings(t, b)
	wantProblem(t, found["job IDs"], "setval")
	s.exec(t, found["job IDs"].Fix)
	push(t, b, "a", 1)
	wantNoProblem(t, findings(t, b), "job IDs")

	weak := s.open(t, &postgres.Options{Schema: s.name, Durability: backend.ProcessCrash, NoListen: true})
	found = findings(t, weak)
	wantProblem(t, found["durability of pushes"], "Options.Durability")
	wantNoProblem(t, found, "notifications")

	// Settings that a session gets when it begins.
	for setting, check := range map[string]string{
		"synchronous_commit=off": "synchronous_commit", "default_transaction_read_only=on": "server",
	} {
		name := strings.Split(setting, "=")
		s.exec(t, "ALTER TABLE "+s.name+".job SET (autovacuum_enabled = false)")
		db, err := sql.Open(d.Name, s.dsn)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		odd, err := postgres.New(db, &postgres.Options{Schema: s.name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(fmt.Sprintf("SET %s = %s", name[0], name[1])); err != nil {
			t.Fatal(err)
		}
		found = findings(t, odd)
		wantProblem(t, found[check], map[string]string{"server": "target_session_attrs", "synchronous_commit": "ALTER ROLE"}[check])
		wantProblem(t, found["autovacuum"], "RESET (autovacuum_enabled)", s.name)
		if f := found["pooler"]; !strings.Contains(f.Value, "unknown") {
			t.Errorf("with one connection the finding is %+v", f)
		}
		if err := odd.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}

	s.exec(t, fmt.Sprintf(`CREATE OR REPLACE FUNCTION %s.now_micros() RETURNS bigint LANGUAGE sql VOLATILE
		AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 60000000 $$`, s.name))
	wantProblem(t, findings(t, b)["clock"], "synchronise")
	if _, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true}); err != nil {
		t.Fatal(err)
	}
	s.exec(t, fmt.Sprintf(`CREATE OR REPLACE FUNCTION %s.now_micros() RETURNS bigint LANGUAGE sql VOLATILE
		AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$`, s.name))
	if f := findings(t, b)["clock"]; !strings.Contains(f.Problem, "gone back") {
		t.Errorf("after the clock went back the finding is %+v", f)
	}
}

// testExamineSnapshot finds the session that holds a snapshot. It does not wait until
// the snapshot is old.
func (d Driver) testExamineSnapshot(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	tx, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var pid int64
	if err := tx.QueryRowContext(t.Context(), "SELECT pg_backend_pid() FROM "+s.name+".job RIGHT JOIN (VALUES (1)) AS v(n) ON true").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if pgcluster.Owned() {
		if f := findings(t, b)["oldest snapshot"]; !strings.Contains(f.Value, fmt.Sprintf("pid %d", pid)) {
			t.Errorf("the finding is %+v, want pid %d", f, pid)
		}
	}
}

// testExamineLock finds the session that blocks all writes.
func (d Driver) testExamineLock(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	if f := findings(t, b)["table locks"]; f.Stops || f.Problem != "" {
		t.Errorf("without a lock the finding is %+v", f)
	}
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var pid int64
	if err := tx.QueryRowContext(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE "+s.name+".job IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { // the lock must last to be found
		f := findings(t, b)["table locks"]
		return f.Stops && strings.Contains(f.Problem, fmt.Sprintf("pid %d", pid)) && strings.Contains(f.Value, " on job for")
	})
}

// testExamineClosed examines a closed store, and one whose server does not answer in
// time.
func (d Driver) testExamineClosed(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Examine(ctx, backend.ExamineRequest{}); err == nil {
		t.Error("Examine succeeded although its context had ended")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Examine(t.Context(), backend.ExamineRequest{}); err == nil {
		t.Error("Examine succeeded on a closed store")
	}
}
