package conformance

import (
	"database/sql"
	"errors"

	"github.com/plainjobs/plainjobs/backend"
)

// tx begins a transaction of the application's.
func (e *env) tx() (backend.TxPusher, *sql.Tx) {
	e.Helper()
	pusher := capability[backend.TxPusher](e, e.b)
	if e.store.DB == nil {
		e.Skip("the store shares no database")
	}
	tx, err := e.store.DB(e).BeginTx(e.ctx, nil)
	if err != nil {
		e.Fatalf("BeginTx: %v", err)
	}
	e.Cleanup(func() { _ = tx.Rollback() })
	return pusher, tx
}

var txCases = []testCase{{
	name: "tx/commit",
	rule: "jobs pushed in a transaction exist if and when it commits, and wake those who wait",
	run: func(e *env) {
		pusher, tx := e.tx()
		late := newJob("b")
		late.Delay = e.unit
		pushed, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{newJob("a"), newJob("a"), late})
		if err != nil {
			e.Fatalf("PushTx: %v", err)
		}
		if _, err := e.reader().Get(e.ctx, pushed[0].ID); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("Get before the commit = %v, want ErrNotFound", err)
		}
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
		e.wantAsleep("before the commit", c)
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantWake("after the commit", c)
		e.wantCounts("a pending=2 b scheduled=1")
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"), pushed[0].ID, pushed[1].ID)
	},
}, {
	name: "tx/rollback",
	rule: "a transaction that rolls back leaves nothing, and names first used in it work afterwards",
	run: func(e *env) {
		pusher, tx := e.tx()
		if _, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{newJob("a")}); err != nil {
			e.Fatalf("PushTx: %v", err)
		}
		if err := tx.Rollback(); err != nil {
			e.Fatalf("Rollback: %v", err)
		}
		e.wantCounts("")
		e.push(e.b, "other", 1)
		id := e.push(e.b, "a", 1)[0]
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"), id)
	},
}, {
	name: "tx/invalid",
	rule: "a batch with a fault, a finished transaction and one of another database are refused, and nothing is stored",
	run: func(e *env) {
		pusher, tx := e.tx()
		bad := newJob("a")
		bad.MaxAttempts = 0
		if _, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{newJob("a"), bad}); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("PushTx of a bad batch = %v, want ErrInvalid", err)
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		if _, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{newJob("a")}); !errors.Is(err, sql.ErrTxDone) {
			e.Errorf("PushTx after Commit = %v, want sql.ErrTxDone", err)
		}
		e.wantCounts("")
	},
}}
