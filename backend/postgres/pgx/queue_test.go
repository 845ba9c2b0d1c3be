package pgx_test

import (
	"errors"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
)

var invoice = plainjobs.Declare[int]("invoice", plainjobs.UniqueByData(plainjobs.Reject()))

// Tasks performed in a transaction of pgx exist if and when it commits.
func TestWithTx(t *testing.T) {
	ctx := t.Context()
	b, conn, _ := connect(t)
	queue := plainjobs.New(b, nil)

	lost, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id, err := pgx.WithTx(queue, lost).Perform(ctx, invoice.With(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := lost.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := queue.Get(ctx, id); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("after the rollback Get returned %v", err)
	}

	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.WithTx(queue, tx).PerformMany(ctx, invoice.With(1), invoice.With(2))
	if err != nil || len(ids) != 2 {
		t.Fatalf("PerformMany returned %v, %v", ids, err)
	}
	if again, err := pgx.WithTx(queue, tx).Perform(ctx, invoice.With(2)); !errors.Is(err, plainjobs.ErrDuplicate) || again != ids[1] {
		t.Errorf("Perform of a duplicate returned %d, %v; want %d and ErrDuplicate", again, err, ids[1])
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := queue.Get(ctx, ids[0]); err != nil || info.State != plainjobs.Pending || string(info.Payload) != "1" {
		t.Errorf("after the commit the job is %+v, %v", info, err)
	}
}
