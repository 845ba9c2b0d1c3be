package postgrestest

import (
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// testDump dumps a queue in use by pg_dump and restores it in another database.
// Everything is there, running jobs are rescued like those of a dead worker, and a
// transaction of the copy is not accepted as one of the original.
func (d Driver) testDump(t *testing.T) {
	s, b := d.fresh(t)
	ctx := t.Context()
	unique, chain := newJob("u"), newJob("s")
	unique.Unique = backend.Unique{Key: "k", For: 24 * time.Hour}
	chain.Serial = "chain"
	if _, err := b.Push(ctx, []backend.NewJob{unique, newJob("r"), chain, chain}); err != nil {
		t.Fatal(err)
	}
	schedule := backend.Schedule{Name: "n", Definition: "d", Next: time.Now().Add(-time.Hour).Truncate(time.Second)}
	if err := b.Define(ctx, []backend.Schedule{schedule}); err != nil {
		t.Fatal(err)
	}
	const lease = 500 * time.Millisecond
	running, err := b.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: lease}, Register: true, Names: []string{"r"}, Limit: 1})
	if err != nil || len(running) != 1 {
		t.Fatal(running, err)
	}
	s.exec(t, "CREATE DATABASE restored")
	dsn := s.with("dbname", "restored")
	pgcluster.Copy(t, s.dsn, dsn)

	db, err := sql.Open(d.Name, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for of, wrong := range map[*sql.DB]bool{s.db: false, db: true} {
		tx, err := of.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.PushTx(ctx, tx, []backend.NewJob{newJob("a")}); wrong != errors.Is(err, backend.ErrInvalid) || !wrong && err != nil {
			t.Errorf("PushTx in a transaction of the copy, %v: %v", wrong, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}

	restored, err := d.Open(dsn, &postgres.Options{NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = restored.Close() })
	again, err := restored.Push(ctx, []backend.NewJob{unique, newJob("a")})
	if err != nil || !again[0].Duplicate || again[1].ID <= 4 {
		t.Errorf("Push = %+v, %v; want a duplicate and a new ID", again, err)
	}
	found, err := restored.Schedules(ctx)
	if err != nil || len(found.Schedules) != 1 || !found.Schedules[0].Next.Equal(schedule.Next) {
		t.Errorf("Schedules = %+v, %v", found, err)
	}
	until(t, func() bool {
		r, err := restored.Reap(ctx, backend.ReapRequest{Expired: true})
		if err != nil {
			t.Fatal(err)
		}
		return r.Rescued == 1
	})
	if lost, err := restored.Complete(ctx, []backend.Completion{{Lease: running[0].Lease}}); err != nil || len(lost) != 1 {
		t.Errorf("Complete by the original worker = %v, %v; want a lost lease", lost, err)
	}
	jobs, err := restored.Claim(ctx, backend.ClaimRequest{
		Worker: backend.Worker{ID: 2, Lease: time.Minute}, Register: true, Names: []string{"r", "s"}, Limit: 9, Suspects: true,
	})
	if err != nil || len(jobs) != 1 || jobs[0].ID != running[0].ID {
		t.Errorf("Claim = %+v, %v; want the job that ran", jobs, err)
	}
	jobs, err = restored.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 2, Lease: time.Minute}, Names: []string{"s"}, Limit: 9})
	if err != nil || len(jobs) != 1 {
		t.Errorf("Claim of a serial key = %+v, %v; want its head", jobs, err)
	}
}
