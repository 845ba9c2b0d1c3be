package postgrestest

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// testReplica opens a store on a read-only replica.
func (d Driver) testReplica(t *testing.T) {
	s := d.schema(t)
	r := pgcluster.Own(t).Replica(t, d.Name)
	opts := &postgres.Options{Schema: s.name}
	dsn := r.TCP(pgcluster.Superuser, pgcluster.Password, "postgres")
	d.refuses(t, dsn, opts, backend.ErrUnavailable, "read-only replica", "target_session_attrs=read-write")
	push(t, s.open(t, opts), "a", 1)
	d.refuses(t, dsn, opts, backend.ErrUnavailable, "read-only replica", "target_session_attrs=read-write")
}

// testFullDisk pushes until the disk of the tables is full, and continues after room
// was made.
func (d Driver) testFullDisk(t *testing.T) {
	c := pgcluster.Own(t)
	dir, grow := c.SmallDisk(t)
	s := d.schema(t)
	space := s.name + "_space"
	s.exec(t, fmt.Sprintf("CREATE TABLESPACE %s LOCATION '%s'", space, dir))
	t.Cleanup(func() {
		s.exec(t, "DROP SCHEMA IF EXISTS "+s.name+" CASCADE")
		s.exec(t, "DROP TABLESPACE "+space)
	})
	b, err := d.Open(s.with("options", "-c default_tablespace="+space), &postgres.Options{Schema: s.name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the tablespace is dropped
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	stored := int64(0)
	for err == nil && stored < 1000 {
		job := newJob("a")
		job.Payload = make([]byte, 100_000)
		for i := range job.Payload {
			job.Payload[i] = byte(i * i >> 3 * (i>>7 + 1)) // hard to compress
		}
		if _, err = b.Push(t.Context(), []backend.NewJob{job}); err == nil {
			stored++
		}
	}
	if !errors.Is(err, backend.ErrNoSpace) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("push %d on the full disk = %v, want ErrNoSpace with advice", stored, err)
	}
	noPassword(t, err)
	if n := count(t, b, backend.Pending); n != stored {
		t.Errorf("%d jobs are stored, want the %d acknowledged", n, stored)
	}
	grow()
	push(t, b, "a", 1)
	if n := count(t, b, backend.Pending); n != stored+1 {
		t.Errorf("%d jobs are stored after room was made, want %d", n, stored+1)
	}
}

// testIdleTimeout makes the server end an idle transaction of the application.
func (d Driver) testIdleTimeout(t *testing.T) {
	s := d.schema(t)
	db, err := sql.Open(d.Name, s.with("options", "-c idle_in_transaction_session_timeout=500ms"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := postgres.New(db, &postgres.Options{Schema: s.name})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	push(t, b, "a", 1)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var pid int64
	if err := tx.QueryRowContext(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		var n int
		if err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
	_, err = b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")})
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("PushTx in the ended transaction = %v, want ErrUnavailable", err)
	}
	if state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok && state.SQLState() == "25P03" && !strings.Contains(err.Error(), "ALTER ROLE") { // not every driver reports the reason
		t.Errorf("PushTx in the ended transaction = %v, want advice", err)
	}
	noPassword(t, err)
	push(t, b, "a", 1) // the store continues
	if n := count(t, b, backend.Pending); n != 2 {
		t.Errorf("%d jobs are stored, want 2", n)
	}
}

// testNoConnections opens a store, and uses an open one, as a role that may no longer
// connect.
func (d Driver) testNoConnections(t *testing.T) {
	s := d.schema(t)
	dsn := s.role(t, "many")
	s.exec(t, fmt.Sprintf("ALTER ROLE %s_many CONNECTION LIMIT 0", s.name))
	d.refuses(t, dsn, &postgres.Options{Schema: s.name}, backend.ErrUnavailable, "no connection left", "max_connections")
}
