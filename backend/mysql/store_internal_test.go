package mysql

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

// testStore returns a store on a pool of its own, with tables of its own.
func testStore(t *testing.T, prefix, parameters string) (*sql.DB, *Backend) {
	t.Helper()
	db, err := sql.Open("mysql", mycluster.Connect(t)+parameters)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	b, err := New(db, &Options{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return db, b
}

// A statement with a time or a key in it would stay in memory for ever.
func TestTexts(t *testing.T) {
	_, b := testStore(t, "texts_", "")
	before := int64(0)
	for n := range 20 {
		jobs := []backend.NewJob{{Name: "a", MaxAttempts: 1, Unique: backend.Unique{Key: fmt.Sprint(n)}, Serial: fmt.Sprint(n), MaxPending: 100}}
		if _, err := b.Push(t.Context(), jobs); err != nil {
			t.Fatal(err)
		}
		if _, err := b.List(t.Context(), backend.ListRequest{Filter: backend.Filter{Metadata: map[string]string{"k": fmt.Sprint(n)}}}); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			before = b.cached.Load()
		}
	}
	if after := b.cached.Load(); after != before {
		t.Errorf("%d statements are kept, after the first pushes %d", after, before)
	}
}

// A job of a transaction that has not ended is not stored, even if the session reads it: the
// server may roll the transaction back.
func TestHasNewWaits(t *testing.T) {
	db, b := testStore(t, "dirty_", "?tx_isolation=%27READ-UNCOMMITTED%27")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	pushed, err := b.PushTx(t.Context(), tx, []backend.NewJob{{Name: "a", MaxAttempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan bool, 1)
	go func() {
		ok, err := b.hasNew(t.Context(), db, pushed)
		found <- ok && err == nil
	}()
	waiting := func() (n int) {
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE '%dirty_job%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for tick := time.NewTicker(200 * time.Millisecond); waiting() == 0 && len(found) == 0; { // the table shows what was true a while ago if it is read more often
		<-tick.C
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if <-found {
		t.Error("a job that was rolled back counts as stored")
	}
}
