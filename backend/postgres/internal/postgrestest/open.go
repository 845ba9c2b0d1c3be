package postgrestest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// long reports whether tests may take minutes each.
func long() bool { return os.Getenv("PLAINJOBS_TEST_LONG") != "" }

// refuses fails unless opening fails with want and the texts, and without a password.
func (d Driver) refuses(t *testing.T, dsn string, opts *postgres.Options, want error, texts ...string) {
	t.Helper()
	b, err := d.Open(dsn, opts)
	if err == nil {
		_ = b.Close()
		t.Errorf("Open succeeded, want %v with %q", want, texts)
		return
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("Open = %v, want %v", err, want)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("Open = %v, want %q in it", err, text)
		}
	}
	noPassword(t, err)
}

// unavailable fails unless an error is ErrUnavailable and contains the advice.
func unavailable(t *testing.T, err error, advice string) {
	t.Helper()
	if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), advice) {
		t.Errorf("error = %v, want ErrUnavailable with the advice %q", err, advice)
		return
	}
	noPassword(t, err)
}

func noPassword(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{pgcluster.Password, "wrong-secret"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

// testNewerSchema opens the schema of a later version of the program.
func (d Driver) testNewerSchema(t *testing.T) {
	s := d.schema(t)
	opts := &postgres.Options{Schema: s.name}
	push(t, s.open(t, opts), "a", 1)
	s.exec(t, "UPDATE "+s.name+".meta SET value = '999' WHERE key = 'schema'")
	written := func() (n string) {
		if err := s.db.QueryRow("SELECT string_agg(relname || ' ' || xmin::text, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = to_regnamespace($1)",
			s.name).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := written()
	d.refuses(t, s.dsn, opts, backend.ErrSchemaTooNew, "version 999")
	if after := written(); after != before {
		t.Errorf("the refused schema changed from\n%s to\n%s", before, after)
	}
}

// testForeignTables opens schemas with tables of another program, such as "public".
// They stay unchanged.
func (d Driver) testForeignTables(t *testing.T) {
	for _, query := range []string{
		"CREATE TABLE {s}.meta (key text PRIMARY KEY, value text); INSERT INTO {s}.meta VALUES ('schema', '999')",
		"CREATE TABLE {s}.meta (key text PRIMARY KEY, value text); INSERT INTO {s}.meta VALUES ('schema', 'of something')",
		"CREATE TABLE {s}.meta (id bigint, name text, value jsonb)",
		"CREATE TABLE {s}.jobs (id bigint)",
	} {
		s := d.schema(t)
		s.exec(t, s.in("CREATE SCHEMA IF NOT EXISTS {s}; "+query))
		before := ""
		const tables = "SELECT string_agg(relname || ' ' || xmin::text, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = to_regnamespace($1)"
		if err := s.db.QueryRow(tables, s.name).Scan(&before); err != nil {
			t.Fatal(err)
		}
		d.refuses(t, s.dsn, &postgres.Options{Schema: s.name}, backend.ErrInvalid, "of another program", "Options.Schema")
		after := ""
		if err := s.db.QueryRow(tables, s.name).Scan(&after); err != nil || before != after {
			t.Errorf("the schema changed from %s to %s, %v", before, after, err)
		}
	}
}

// testMigrator makes the tables with the SQL that Schema returns, and opens them.
func (d Driver) testSchema(t *testing.T) {
	s, by := d.schema(t), d.schema(t)
	d.refuses(t, s.dsn, &postgres.Options{Schema: s.name, NoMigrate: true}, backend.ErrSchemaTooOld, "has no queue")
	schema, err := by.open(t, &postgres.Options{Schema: by.name}).Schema(t.Context())
	if err != nil || schema.Stored != schema.Known || schema.Stored == 0 {
		t.Fatalf("Schema = %d of %d, %v", schema.Stored, schema.Known, err)
	}
	s.exec(t, strings.ReplaceAll(schema.SQL, by.name, s.name))
	b := s.open(t, &postgres.Options{Schema: s.name, NoMigrate: true})
	push(t, b, "a", 2)
	if n := count(t, b, backend.Pending); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}

// testReadOnly opens a read-only database, like a replica.
func (d Driver) testReadOnly(t *testing.T) {
	s := d.schema(t)
	opts := &postgres.Options{Schema: s.name}
	d.refuses(t, s.with("options", "-c default_transaction_read_only=on"), opts, backend.ErrUnavailable, "read-only", "target_session_attrs")
	b := s.open(t, opts)
	push(t, b, "a", 1)
	d.refuses(t, s.with("options", "-c default_transaction_read_only=on"), opts, backend.ErrUnavailable, "read-only")

	// A server that becomes read-only while it is used.
	dsn := s.role(t, "demoted")
	role := s.name + "_demoted"
	s.exec(t, fmt.Sprintf("GRANT ALL ON SCHEMA %s TO %s; GRANT ALL ON ALL TABLES IN SCHEMA %s TO %s; GRANT ALL ON ALL SEQUENCES IN SCHEMA %s TO %s",
		s.name, role, s.name, role, s.name, role))
	b, err := d.Open(dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s.exec(t, fmt.Sprintf("ALTER ROLE %s SET default_transaction_read_only = on", role))
	s.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+role+"'")
	until(t, func() bool { // its connections are gone
		_, err = b.Push(t.Context(), []backend.NewJob{newJob("a")})
		return err == nil || !strings.Contains(err.Error(), "terminating connection") && !errors.Is(err, sql.ErrConnDone)
	})
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Push = %v, want ErrUnavailable", err)
	}
}

// with returns the schema's DSN with one more parameter.
func (s *schema) with(key, value string) string { return pgcluster.With(s.dsn, key, value) }

// until calls f until it returns true, for 20 seconds at most.
func until(tb testing.TB, f func() bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			tb.Fatalf("the condition was not met in 20 s")
		}
	}
}

// testOpenAtOnce opens a new schema many times at once.
func (d Driver) testOpenAtOnce(t *testing.T) {
	for range 3 {
		s := d.schema(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				b, err := d.Open(s.dsn, &postgres.Options{Schema: s.name})
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				if _, err := b.Push(context.Background(), []backend.NewJob{newJob("a")}); err != nil {
					t.Errorf("Push: %v", err)
				}
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
		wg.Wait()
		if n := count(t, s.open(t, &postgres.Options{Schema: s.name}), backend.Pending); n != 8 {
			t.Errorf("%d jobs are stored, want 8", n)
		}
	}
}

// testOwnDB opens the store on an application's *sql.DB of one connection.
func (d Driver) testOwnDB(t *testing.T) {
	s := d.schema(t)
	db, err := sql.Open(d.Name, s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	b, err := postgres.New(db, &postgres.Options{Schema: s.name})
	if err != nil {
		t.Fatal(err)
	}
	if d := b.Describe(); d.Durability != backend.PowerLoss || !d.Shared || !strings.HasPrefix(d.Store, "postgres (") {
		t.Errorf("Describe returned %+v", d)
	}
	push(t, b, "a", 1)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")}); err != nil {
		t.Fatal(err)
	}
	if long() { // a push outside the transaction fails, after a while
		_, err := b.Push(t.Context(), []backend.NewJob{newJob("a")})
		if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "WithTx") {
			t.Errorf("Push outside the transaction = %v, want the advice to push in it", err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"a"}, Limit: 9})
	if err != nil || len(jobs) != 2 {
		t.Errorf("Claim = %d jobs, %v; want 2", len(jobs), err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("Close of the store closed the application's pool: %v", err)
	}
}

// testForeignTransactions pushes in transactions of other databases and schemas.
func (d Driver) testForeignTransactions(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	s.exec(t, "CREATE DATABASE "+s.name+"_db")
	foreign, err := sql.Open(d.Name, s.with("dbname", s.name+"_db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := foreign.Close(); err != nil {
			t.Error(err)
		}
		s.exec(t, "DROP DATABASE "+s.name+"_db")
	})
	try := func(what string, db *sql.DB) {
		t.Helper()
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		_, err = b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")})
		if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "belongs to another database") {
			t.Errorf("PushTx in a transaction of %s = %v, want ErrInvalid", what, err)
		}
		// The transaction is still usable.
		if _, err := tx.ExecContext(t.Context(), "SELECT 1"); err != nil {
			t.Errorf("the transaction of %s is unusable: %v", what, err)
		}
	}
	try("a database without a queue", foreign)
	clone, err := d.Open(s.with("dbname", s.name+"_db"), &postgres.Options{Schema: s.name})
	if err != nil {
		t.Fatal(err)
	}
	if err := clone.Close(); err != nil {
		t.Error(err)
	}
	try("another queue's database", foreign)
}
