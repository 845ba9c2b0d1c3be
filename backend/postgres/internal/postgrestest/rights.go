package postgrestest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// role makes a role that may log in, and returns its DSN.
func (s *schema) role(tb testing.TB, name string) string {
	tb.Helper()
	c := pgcluster.Own(tb)
	name = s.name + "_" + name
	s.exec(tb, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, pgcluster.Password))
	tb.Cleanup(func() { s.exec(tb, fmt.Sprintf("DROP OWNED BY %s; DROP ROLE %s", name, name)) })
	return c.TCP(name, pgcluster.Password, "postgres")
}

func (d Driver) testWrongDSN(t *testing.T) {
	c := pgcluster.Own(t)
	d.refuses(t, c.TCP(pgcluster.Superuser, "wrong-secret", "postgres"), nil, nil, "refused the role or its password")
	d.refuses(t, c.TCP("nobody", "wrong-secret", "postgres"), nil, nil, "refused the role or its password")
	d.refuses(t, c.TCP(pgcluster.Superuser, pgcluster.Password, "missing"), nil, nil, "CREATE DATABASE")
	for _, dsn := range []string{
		"postgres://u:wrong-secret@127.0.0.1:port/db", "postgres://u:wrong-secret@127.0.0.1:1/db?sslmode=nonsense",
		"host=127.0.0.1 port=nonsense password=wrong-secret", "host=127.0.0.1 port=1 password='wrong-secret' user=u sslmode=disable",
		"postgres://u:wrong-secret@%zz/db", "postgres://u:wrong-secret@127.0.0.1:1/db?sslmode=disable",
		"host=127.0.0.1 port=1 user=u sslmode=disable passfile=/nowhere password=wrong-secret sslkey=/nowhere",
	} {
		d.refuses(t, dsn, nil, nil)
	}
	d.refuses(t, c.TCP(pgcluster.Superuser, pgcluster.Password, "postgres"), &postgres.Options{Schema: "Bad Name"}, backend.ErrInvalid, "Bad Name")
	d.refuses(t, c.TCP(pgcluster.Superuser, pgcluster.Password, "postgres"), &postgres.Options{Schema: "pg_mine"}, backend.ErrInvalid, "pg_")
	d.refuses(t, c.TCP(pgcluster.Superuser, pgcluster.Password, "postgres"), &postgres.Options{Durability: 9}, backend.ErrInvalid)
	d.refuses(t, c.TCP(pgcluster.Superuser, pgcluster.Password, "postgres"), &postgres.Options{History: backend.History{Done: 1 << 62}}, backend.ErrInvalid)
}

// testRights opens stores as a role with few rights.
func (d Driver) testRights(t *testing.T) {
	s := d.schema(t)
	dsn := s.role(t, "poor")
	opts := &postgres.Options{Schema: s.name}
	d.refuses(t, dsn, opts, nil, "lacks a right", "CREATE SCHEMA", "GRANT", s.name)

	// The advice in the error helps.
	role := s.name + "_poor"
	s.exec(t, "CREATE SCHEMA "+s.name)
	d.refuses(t, dsn, opts, nil, "lacks a right", "GRANT USAGE, CREATE ON SCHEMA")
	s.exec(t, fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s", s.name, role))
	b, err := d.Open(dsn, opts)
	if err != nil {
		t.Fatalf("Open with rights on the schema: %v", err)
	}
	push(t, b, "a", 3)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// testRightsOnTables opens a store whose tables another role owns.
func (d Driver) testRightsOnTables(t *testing.T) {
	s := d.schema(t)
	dsn := s.role(t, "other")
	opts := &postgres.Options{Schema: s.name}
	push(t, s.open(t, opts), "a", 1)
	d.refuses(t, dsn, opts, nil, "lacks a right", "GRANT ALL ON ALL TABLES")
	role := s.name + "_other"
	s.exec(t, strings.NewReplacer("SCHEMA_", s.name, "ROLE_", role).Replace(
		"GRANT USAGE ON SCHEMA SCHEMA_ TO ROLE_; GRANT ALL ON ALL TABLES IN SCHEMA SCHEMA_ TO ROLE_; GRANT ALL ON ALL SEQUENCES IN SCHEMA SCHEMA_ TO ROLE_"))
	b, err := d.Open(dsn, opts)
	if err != nil {
		t.Fatalf("Open with rights on the tables: %v", err)
	}
	push(t, b, "a", 1)
	if n := count(t, b, backend.Pending); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
	// Only the owner may change a sequence; the error says how.
	batch := backend.Batch{LastID: 1000}
	_, err = b.Import(t.Context(), batch)
	line := "ALTER SEQUENCE \"" + s.name + "\".job_id_seq RESTART WITH 1001"
	if err == nil || !strings.Contains(err.Error(), line) {
		t.Fatalf("Import with rights on the tables = %v, want %q", err, line)
	}
	s.exec(t, line)
	if _, err := b.Import(t.Context(), batch); err != nil {
		t.Errorf("Import after that: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// testRightsOnFunctions opens a store whose tables another role owns, in a database
// where roles may call only granted functions. The advice in the error helps.
func (d Driver) testRightsOnFunctions(t *testing.T) {
	s := d.schema(t)
	owner := s.role(t, "owner")
	dsn := s.role(t, "user")
	opts := &postgres.Options{Schema: s.name}
	s.exec(t, fmt.Sprintf("CREATE SCHEMA %s AUTHORIZATION %s_owner", s.name, s.name))
	s.exec(t, fmt.Sprintf("ALTER DEFAULT PRIVILEGES FOR ROLE %s_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC", s.name))
	b, err := d.Open(owner, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	b, err = d.Open(dsn, opts)
	if err == nil {
		b.Close()
		t.Fatal("Open without rights succeeded")
	}
	const intro = "run as the owner of the database: "
	_, grants, ok := strings.Cut(err.Error(), intro)
	if !ok {
		t.Fatalf("Open = %v, want %q in it", err, intro)
	}
	end := strings.LastIndex(grants, fmt.Sprintf("%s_user\"", s.name))
	if end < 0 {
		t.Fatalf("Open = %v, want the role in it", err)
	}
	s.exec(t, grants[:end+len(s.name)+len(`_user"`)])
	b, err = d.Open(dsn, opts)
	if err != nil {
		t.Fatalf("Open after %s: %v", grants, err)
	}
	push(t, b, "a", 1)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
