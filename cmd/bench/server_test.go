package main

import (
	"bytes"
	"database/sql"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/internal/mycluster"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pgcluster.Stop()
	mycluster.Stop()
	os.Exit(code)
}

// serverDurability is the durability of pushes to the tests' server. A server
// that the tests start has no fsync.
func serverDurability() string {
	if pgcluster.Owned() {
		return "normal"
	}
	return "full"
}

// TestPostgres runs all scenarios for servers through the command.
func TestPostgres(t *testing.T) {
	dsn := pgcluster.Connect(t)
	t.Setenv(postgresVariable, dsn)
	var names []string
	for _, s := range child.Scenarios() {
		if s.Is(child.Postgres) {
			names = append(names, s.Name)
		}
	}
	status, stdout, stderr := bench(t, t.Context(), "-scenario", strings.Join(names, ","),
		"-drivers", "postgres", "-workers", "2", "-processes", "1,2", "-jobs", "200", "-count", "1", "-json")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	_, medians := lines(t, stdout)
	checkMedians(t, medians, "postgres", child.Postgres)
	for _, l := range medians {
		if l.Bytes != nil {
			t.Errorf("what goes to a server is not what it writes: %+v", l)
		}
	}

	if !pgcluster.Owned() { // other programs may use it
		return
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var left int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'bench\_%'`).Scan(&left); err != nil || left > 0 {
		t.Errorf("%d schemas were left, %v", left, err)
	}
}

func TestPostgresTable(t *testing.T) {
	dsn := pgcluster.Connect(t)
	if pgcluster.Owned() { // a URL; TestPostgres has keywords
		dsn = pgcluster.Own(t).TCP(pgcluster.Superuser, pgcluster.Password, "postgres")
	}
	status, stdout, stderr := bench(t, t.Context(), "-scenario", "pushmany", "-drivers", "memory,postgres", "-postgres", dsn, "-jobs", "50", "-count", "1")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"\nPostgreSQL: ", "fsync", "\npostgres ", "limit is a bare COPY"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "limit is a bare INSERT") || strings.Contains(stdout, dsn) || strings.Contains(stdout, pgcluster.Password) {
		t.Errorf("got\n%s", stdout)
	}
}

// A server that cannot be reached ends the session, without its password.
func TestPostgresUnreachable(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:wrong-secret@127.0.0.1:1/db", "host=127.0.0.1 port=1 user=u password=wrong-secret sslmode=disable", "postgres://u:wrong-secret@127.0.0.1:port/db",
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), []string{"-scenario", "drain", "-drivers", "postgres", "-postgres", dsn}, &stdout, &stderr)
		if status != 1 || !strings.Contains(stderr.String(), "postgres: ") || strings.Contains(stdout.String()+stderr.String(), "wrong-secret") {
			t.Errorf("status %d: %s%s", status, &stdout, &stderr)
		}
	}
}

// TestMariaDB runs all scenarios for MariaDB through the command.
func TestMariaDB(t *testing.T) {
	dsn := mycluster.Connect(t)
	var names []string
	for _, s := range child.Scenarios() {
		// With as few jobs, the first ticks of schedules are further away than their intervals.
		if s.Is(child.MariaDB) && s.Name != "schedules" {
			names = append(names, s.Name)
		}
	}
	status, stdout, stderr := bench(t, t.Context(), "-scenario", strings.Join(names, ","), "-drivers", "mariadb", "-mariadb", dsn,
		"-workers", "2", "-processes", "1,2", "-jobs", "200", "-count", "1", "-json")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	_, medians := lines(t, stdout)
	for _, name := range names {
		if !slices.ContainsFunc(medians, func(l line) bool { return l.Scenario == name && l.Driver == "mariadb" }) {
			t.Errorf("no line of %s", name)
		}
	}

	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var left int
	if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'bench%'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d databases are left (%v)", left, err)
	}
	var out, errs bytes.Buffer
	status = run(t.Context(), []string{"-scenario", "drain", "-drivers", "mariadb", "-mariadb", "u:wrong-secret@nowhere"}, &out, &errs)
	if status != 1 || !strings.Contains(errs.String(), "user:password@tcp(host:3306)/") || strings.Contains(errs.String(), "wrong-secret") {
		t.Errorf("status %d: %s", status, &errs)
	}
}
