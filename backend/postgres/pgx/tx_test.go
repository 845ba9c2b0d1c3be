package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	native "github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
)

func newJob(key string) backend.NewJob {
	return backend.NewJob{Name: "a", Payload: []byte("p"), MaxAttempts: 1, Serial: "s", Unique: backend.Unique{Key: key}}
}

// connect opens a store in a new schema, and a separate connection.
func connect(tb testing.TB) (store *postgres.Backend, conn *native.Conn, schema string) {
	tb.Helper()
	dsn, schema := postgrestest.Schema(tb, "pgx")
	store, err := pgx.Open(dsn, &postgres.Options{Schema: schema})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	if conn, err = native.Connect(tb.Context(), dsn); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close(context.Background()) })
	return store, conn, schema
}

// Jobs pushed and completed in a transaction of pgx exist, and are done, if and when
// it commits.
func TestAsSQL(t *testing.T) {
	ctx := t.Context()
	b, conn, _ := connect(t)
	push := func(tx native.Tx, jobs ...backend.NewJob) (pushed []backend.Pushed, err error) {
		err = pgx.AsSQL(ctx, tx, func(tx *sql.Tx) error {
			pushed, err = b.PushTx(ctx, tx, jobs)
			return err
		})
		return pushed, err
	}

	lost, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := push(lost, newJob("lost")); err != nil {
		t.Fatal(err)
	}
	if err := lost.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := push(lost, newJob("late")); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("PushTx after Rollback = %v, want sql.ErrTxDone", err)
	}

	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := push(tx, newJob("k"), newJob("k"), newJob("l"))
	if err != nil || pushed[1] != (backend.Pushed{ID: pushed[0].ID, Duplicate: true}) {
		t.Fatalf("PushTx = %v, %v", pushed, err)
	}
	reject := newJob("k")
	reject.Unique.Conflict = backend.Reject
	if _, err := push(tx, reject); !errors.Is(err, backend.ErrDuplicate) {
		t.Errorf("PushTx of a duplicate = %v, want ErrDuplicate", err)
	}
	if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
		t.Errorf("the transaction is unusable: %v", err)
	}
	claim := backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"a"}, Limit: 9}
	if jobs, err := b.Claim(ctx, claim); err != nil || len(jobs) != 0 {
		t.Errorf("before the commit Claim = %v, %v", jobs, err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	jobs, err := b.Claim(ctx, claim)
	if err != nil || len(jobs) != 1 || jobs[0].ID != pushed[0].ID || string(jobs[0].Payload) != "p" {
		t.Fatalf("after the commit Claim = %+v, %v", jobs, err)
	}

	if tx, err = conn.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	err = pgx.AsSQL(ctx, tx, func(tx *sql.Tx) error {
		return b.CompleteTx(ctx, tx, backend.Completion{Lease: jobs[0].Lease, Result: []byte("r")})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := b.Get(ctx, jobs[0].ID); err != nil || info.State != backend.Done || string(info.Result) != "r" {
		t.Errorf("the job is %+v, %v", info, err)
	}
	if jobs, err := b.Claim(ctx, claim); err != nil || len(jobs) != 1 || jobs[0].ID != pushed[2].ID {
		t.Errorf("the next one: Claim = %+v, %v", jobs, err)
	}
}

// A transaction of the application notifies of its jobs when it commits, and not
// when it is rolled back.
func TestTransactionNotifies(t *testing.T) {
	ctx := t.Context()
	b, conn, schema := connect(t)
	channel := native.Identifier{"plainjobs:" + schema}.Sanitize()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		t.Fatal(err)
	}
	other, err := native.ConnectConfig(ctx, conn.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	push := func(b *postgres.Backend) (tx native.Tx, id int64) {
		tx, err := other.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = pgx.AsSQL(ctx, tx, func(tx *sql.Tx) error {
			pushed, err := b.PushTx(ctx, tx, []backend.NewJob{newJob("")})
			if err == nil {
				id = pushed[0].ID
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return tx, id
	}
	heard := func() string {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n.Payload
	}

	tx, _ := push(b)
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(ctx, "NOTIFY "+channel+", 'after'"); err != nil {
		t.Fatal(err)
	}
	if got := heard(); got != "after" {
		t.Errorf("a rolled-back transaction notified %q", got)
	}
	// A new store, because not every transaction of one store notifies.
	fresh, err := pgx.Open(conn.Config().ConnString(), &postgres.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	tx, _ = push(fresh)
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := heard(), "tx"; got != want {
		t.Errorf("a committed transaction notified %q, want %q", got, want)
	}
}
