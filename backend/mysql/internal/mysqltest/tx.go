package mysqltest

import (
	"database/sql"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// testOldSnapshot uses a transaction that reads an old snapshot. What was committed since must
// count: keys that were taken, and jobs that were claimed.
func testOldSnapshot(t *testing.T) {
	s := recycled(t)
	b := s.share(t)
	push := func(jobs ...backend.NewJob) []backend.Pushed {
		t.Helper()
		pushed, err := b.Push(t.Context(), jobs)
		if err != nil {
			t.Fatal(err)
		}
		return pushed
	}
	unique, serial, waiting := newJob("a"), newJob("b"), newJob("c")
	unique.Unique.Key, serial.Serial = "k", "s"
	waiting.Unique = backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace}
	tx, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var n int
	if err := tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+s.prefix+"job").Scan(&n); err != nil || n != 0 {
		t.Fatal(n, err)
	}
	first := push(unique, serial, waiting)
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"b"}, Limit: 1})
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	replaced := waiting
	replaced.Priority = 7
	got, err := b.PushTx(t.Context(), tx, []backend.NewJob{unique, serial, replaced})
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != (backend.Pushed{ID: first[0].ID, Duplicate: true}) || got[2] != (backend.Pushed{ID: first[2].ID, Duplicate: true}) {
		t.Errorf("PushTx = %+v, want duplicates of %+v", got, first)
	}
	if err := b.CompleteTx(t.Context(), tx, backend.Completion{Lease: jobs[0].Lease}); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int64]backend.State{first[0].ID: backend.Pending, jobs[0].ID: backend.Done, got[1].ID: backend.Pending} {
		if info, err := b.Get(t.Context(), id); err != nil || info.State != want {
			t.Errorf("job %d is %v, %v; want %v", id, info.State, err, want)
		}
	}
	if info, err := b.Get(t.Context(), first[2].ID); err != nil || info.Priority != 7 {
		t.Errorf("the replaced job is %+v, %v", info, err)
	}
}

// testGroupInTransaction ends the last member of a gate in a transaction of the application. The
// process finds the commit, without Reap.
func testGroupInTransaction(t *testing.T) {
	s := recycled(t)
	b := s.open(t)
	created, err := b.CreateGates(t.Context(), nil, backend.GateRequest{
		Gates: []backend.NewGate{{Sealed: true}},
		Jobs: []backend.NewJob{
			{Name: "a", MaxAttempts: 1, Gating: &backend.Gating{Gates: []int64{-1}}},
			{Name: "b", MaxAttempts: 1, Gating: &backend.Gating{Gate: -1, When: backend.WhenDone}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := backend.Worker{ID: 1, Lease: time.Minute}
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a", "b"}, Limit: 9})
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	for _, commits := range []bool{false, true} {
		tx, err := s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if err := b.CompleteTx(t.Context(), tx, backend.Completion{Lease: jobs[0].Lease}); err != nil {
			t.Fatal(err)
		}
		if !commits {
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() bool {
		gates, err := b.Gates(t.Context(), backend.GateQuery{IDs: created.Gates})
		if err != nil || len(gates) != 1 {
			t.Fatal(gates, err)
		}
		return !gates[0].EndedAt.IsZero() && gates[0].Done == 1 && gates[0].Waiting == 0
	})
	if n := count(t, b, backend.Pending); n != 1 {
		t.Errorf("%d jobs are pending, want the waiter", n)
	}
}
