package postgrestest

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// fresh returns a store on the test's own server, whose settings the test may change,
// and that server as a schema.
func (d Driver) fresh(t *testing.T) (*schema, *postgres.Backend) {
	t.Helper()
	c := pgcluster.Fresh(t)
	db, err := sql.Open(d.Name, c.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := &schema{d, c.DSN(), "plainjobs", db}
	b, err := d.Open(s.with("application_name", "jobs"), &postgres.Options{NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return s, b
}

// set changes a setting of the server. Its sessions notice one after the other.
func (s *schema) set(t *testing.T, name, value string) {
	t.Helper()
	s.exec(t, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value))
	s.exec(t, "SELECT pg_reload_conf()")
}

// keyedJob returns a job with a key, which is pushed in a transaction; a job without a
// key is pushed by a single statement.
func keyedJob(key string) backend.NewJob {
	job := newJob("a")
	job.Unique = backend.Unique{Key: key, For: 24 * time.Hour}
	return job
}

// testNoStandby pushes on a server whose synchronous standby is away. A job that a
// failover would lose must not be acknowledged, although the server commits it when
// its wait is cancelled.
func (d Driver) testNoStandby(t *testing.T) {
	s, b := d.fresh(t)
	n := 0
	pushBoth := func() (keyed, plain error) {
		try := func(job backend.NewJob) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := b.Push(ctx, []backend.NewJob{job})
			return err
		}
		n++
		return try(keyedJob(fmt.Sprint(n))), try(newJob("a"))
	}
	if keyed, plain := pushBoth(); keyed != nil || plain != nil {
		t.Fatalf("Push = %v, %v", keyed, plain)
	}
	s.set(t, "synchronous_standby_names", "nobody")
	until(t, func() bool {
		keyed, plain := pushBoth()
		return keyed != nil || plain != nil
	})
	for range 2 {
		if keyed, plain := pushBoth(); keyed == nil || plain == nil {
			t.Errorf("Push without the standby = %v with a key, %v without; want errors", keyed, plain)
		}
	}
	s.set(t, "synchronous_standby_names", "")
	until(t, func() bool {
		keyed, plain := pushBoth()
		return keyed == nil && plain == nil
	})
}
