package postgrestest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/conformance"
)

// testRescue reaps two workers while a transaction of the application has completed a
// job of one of them and does not end. All other jobs are rescued. The locked job is
// done if the transaction commits, and rescued later if it does not.
func (d Driver) testRescue(t *testing.T) {
	for _, commits := range []bool{true, false} {
		store := d.store(t, conformance.Options{}, postgres.Options{})
		b := store.Open(t)
		push(t, b, "a", 4)
		var held []backend.Job
		for worker := range int64(2) {
			jobs, err := b.Claim(t.Context(), backend.ClaimRequest{
				Worker: backend.Worker{ID: worker + 1, Lease: time.Second}, Register: true, Names: []string{"a"}, Limit: 2})
			if err != nil || len(jobs) != 2 {
				t.Fatalf("Claim = %d jobs, %v; want 2", len(jobs), err)
			}
			held = append(held, jobs...)
		}
		tx, err := store.DB(t).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if err := b.(backend.TxPusher).CompleteTx(t.Context(), tx, backend.Completion{Lease: held[0].Lease}); err != nil {
			t.Fatal(err)
		}
		reap := func(rescued int, workers ...int64) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			r, err := b.Reap(ctx, backend.ReapRequest{Expired: true})
			if err != nil || r.Rescued != rescued || !slices.Equal(r.Workers, workers) {
				t.Errorf("Reap = %+v, %v; want %d rescued of the workers %d", r, err, rescued, workers)
			}
		}
		store.Advance(2 * time.Second)
		reap(3, 1, 2)
		reap(0)
		wants := backend.Done
		if commits {
			err = tx.Commit()
		} else {
			err = tx.Rollback()
			wants = backend.Pending
		}
		if err != nil {
			t.Fatal(err)
		}
		if commits {
			reap(0)
		} else {
			reap(1, 1)
		}
		for i, j := range held {
			info, err := b.(backend.Reader).Get(t.Context(), j.ID)
			want := backend.Pending
			if i == 0 {
				want = wants
			}
			if err != nil || info.State != want {
				t.Errorf("job %d is %v, %v; want %v", i, info.State, err, want)
			}
		}
		lost, err := b.Complete(t.Context(), []backend.Completion{{Lease: held[0].Lease}})
		if err != nil || (len(lost) == 0) != commits {
			t.Errorf("Complete after the transaction's end = %d lost leases, %v", len(lost), err)
		}
	}
}

// testRescueAll reaps while a worker cannot be rescued, because a transaction holds the
// key that its job must reacquire. The other worker is rescued and the later steps run
// before Reap returns the error.
func (d Driver) testRescueAll(t *testing.T) {
	store := d.store(t, conformance.Options{}, postgres.Options{})
	b := store.Open(t)
	keyed := newJob("a")
	keyed.Unique = backend.Unique{Key: "k", Scope: backend.UntilStarted}
	later := newJob("later")
	later.Delay = 1500 * time.Millisecond
	for _, j := range []backend.NewJob{keyed, newJob("b"), later} {
		if _, err := b.Push(t.Context(), []backend.NewJob{j}); err != nil {
			t.Fatal(err)
		}
	}
	for worker, name := range []string{"a", "b"} {
		jobs, err := b.Claim(t.Context(), backend.ClaimRequest{
			Worker: backend.Worker{ID: int64(worker) + 1, Lease: time.Second}, Register: true, Names: []string{name}, Limit: 2})
		if err != nil || len(jobs) != 1 {
			t.Fatalf("Claim = %d jobs, %v; want 1", len(jobs), err)
		}
	}
	tx := pushing(t, store.DB(t), b, keyed)
	defer tx.Rollback()
	store.Advance(2 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := b.Reap(ctx, backend.ReapRequest{Expired: true})
	if r.Rescued != 1 || !slices.Equal(r.Workers, []int64{2}) || r.Due != 1 {
		t.Errorf("Reap = %+v, want worker 2 rescued and a job due", r)
	}
	unavailable(t, err, "transaction")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	// The server ends the transaction that Reap gave up a moment later. Until then the
	// worker's row is locked, and skipped.
	until(t, func() bool {
		r, err := b.Reap(t.Context(), backend.ReapRequest{Expired: true})
		if err != nil || r.Rescued > 1 {
			t.Fatalf("Reap after the transaction = %+v, %v; want worker 1 rescued", r, err)
		}
		return r.Rescued == 1
	})
}
