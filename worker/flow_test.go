package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

// A flow that is stored in a transaction exists if and when that commits, and a job that adds to
// its flow in the transaction that completes it adds once, although it runs twice.
func TestFlowInTransaction(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "app.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	q := plainjobs.New(b, nil)
	begin := func(ctx context.Context) *sql.Tx {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Error(err)
		}
		return tx
	}
	jobs := bind(q, jobA, func(ctx context.Context, payload string) error {
		if payload != "split" {
			return nil
		}
		group, ok := plainjobs.GroupOf(ctx)
		if !ok {
			return errors.New("no flow")
		}
		tx := begin(ctx)
		defer tx.Rollback()
		var f plainjobs.Flow
		f.Add(jobA.With("added"), plainjobs.DependsOn(f.Add(jobA.With("first"))))
		if err := group.WithTx(tx).PerformFlow(ctx, &f); err != nil {
			return err
		}
		if err := plainjobs.Complete(ctx, tx); err != nil {
			return err
		}
		if info, _ := plainjobs.FromContext(ctx); info.Attempt == 1 {
			return plainjobs.RetryAfter(0, errors.New("rolled back"))
		}
		return tx.Commit()
	})
	var f plainjobs.Flow
	split := f.Add(jobA.With("split"))
	last := f.Add(jobA.With("last"), plainjobs.DependsOn(split))
	tx := begin(t.Context())
	if _, err := q.WithTx(tx).PerformFlow(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, b, backend.States()...); n != 0 {
		t.Fatalf("after the rollback %d jobs are stored", n)
	}
	tx = begin(t.Context())
	flow, err := q.WithTx(tx).PerformFlow(t.Context(), &f)
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 2})
	eventually(t, "all are done", func() bool { return count(t, b, backend.Done, backend.Failed, backend.Cancelled) == 4 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	info, err := q.GroupByID(flow.ID()).Info(t.Context())
	if err != nil || info.Total != 4 || info.Done != 4 || info.EndedAt.IsZero() {
		t.Errorf("the flow is %+v, %v", info, err)
	}
	jobsOf, _, err := q.List(t.Context(), plainjobs.Filter{Group: flow.ID()}, 0, 0)
	if err != nil || len(jobsOf) != 4 {
		t.Fatalf("List = %+v, %v", jobsOf, err)
	}
	for _, j := range jobsOf {
		if end, err := q.Get(t.Context(), last.ID()); err != nil || j.FinishedAt.After(end.FinishedAt) {
			t.Errorf("job %d finished after the last one: %+v, %v", j.ID, j, err)
		}
	}
}
