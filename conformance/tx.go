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
	rule: "jobs pushed in a transaction exist if and when it commits, and end a Wait",
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
	rule: "a transaction that rolls back leaves nothing, and its new names work afterwards",
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
	name:  "tx/keys",
	needs: backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending,
	rule:  "a push in a transaction applies keys and bounds like any other push, within the transaction and outside",
	run: func(e *env) {
		pusher, tx := e.tx()
		job := uniqueJob("a", backend.Unique{Key: "u"})
		serial := serialJob("b", "s")
		pushed, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{job, serial, job, serial})
		if err != nil || len(pushed) != 4 || pushed[0].Duplicate || pushed[2] != (backend.Pushed{ID: pushed[0].ID, Duplicate: true}) {
			e.Fatalf("PushTx = %v, %v", pushed, err)
		}
		if again, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{job}); err != nil || again[0] != pushed[2] {
			e.Errorf("PushTx = %v, %v; want a duplicate of job %d", again, err, pushed[0].ID)
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantCounts("a pending=1 b blocked=1 b pending=1")
		e.wantDuplicate("after the commit", job, pushed[0].ID)
		e.wantState(pushed[3].ID, backend.Blocked)
		w := e.worker()
		for _, id := range []int64{pushed[1].ID, pushed[3].ID} {
			jobs := e.claim(e.b, w, 10, "b")
			e.wantIDs("Claim", jobs, id)
			e.complete(e.b, jobs[0].Lease)
		}
	},
}, {
	name:  "tx/keys-rolled-back",
	needs: backend.FieldUnique | backend.FieldSerial,
	rule:  "keys taken in a transaction that rolls back are free",
	run: func(e *env) {
		pusher, tx := e.tx()
		job := serialJob("a", "s")
		job.Unique.Key = "u"
		if _, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{job}); err != nil {
			e.Fatalf("PushTx: %v", err)
		}
		if err := tx.Rollback(); err != nil {
			e.Fatalf("Rollback: %v", err)
		}
		e.wantState(e.wantNew("after the rollback", job), backend.Pending)
	},
}, {
	name:  "tx/rejected",
	needs: backend.FieldUnique | backend.FieldMaxPending,
	rule:  "a push in a transaction that breaks a bound is refused as a whole, and the transaction can continue",
	run: func(e *env) {
		pusher, tx := e.tx()
		reject := uniqueJob("a", backend.Unique{Key: "u", Conflict: backend.Reject})
		pushed, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{reject})
		if err != nil {
			e.Fatalf("PushTx: %v", err)
		}
		_, err = pusher.PushTx(e.ctx, tx, []backend.NewJob{newJob("b"), reject})
		if d, ok := errors.AsType[*backend.DuplicateError](err); !ok || d.Index != 1 || d.ID != pushed[0].ID {
			e.Errorf("PushTx = %v, want a duplicate of job %d", err, pushed[0].ID)
		}
		_, err = pusher.PushTx(e.ctx, tx, []backend.NewJob{newJob("b"), bounded(1, newJob("a"))})
		if f, ok := errors.AsType[*backend.QueueFullError](err); !ok || f.Index != 1 || f.Waiting != 1 {
			e.Errorf("PushTx = %v, want a full queue", err)
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantCounts("a pending=1")
	},
}, {
	name: "tx/complete",
	rule: "a job completed in a transaction is done if and when it commits: its keys are given back, its result is kept and the next job is unblocked",
	run: func(e *env) {
		job := serialJob("a", "s")
		job.Unique.Key = "u"
		ids := e.pushJobs(e.b, job, serialJob("a", "s"))
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		pusher, tx := e.tx()
		if err := pusher.CompleteTx(e.ctx, tx, backend.Completion{Lease: j.Lease, Result: []byte("r")}); err != nil {
			e.Fatalf("CompleteTx: %v", err)
		}
		e.wantState(ids[0], backend.Running)
		e.wantState(ids[1], backend.Blocked)
		c := e.waiting(e.b, e.ctx, request(w, 1, "a"))
		e.wantAsleep("before the commit", c)
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantWake("after the commit", c)
		if info := e.get(ids[0]); info.State != backend.Done || string(info.Result) != "r" || info.FinishedAt.IsZero() || info.Worker != 0 {
			e.Errorf("the job is %+v", info)
		}
		e.wantCounts("a pending=1 a done=1")
		e.wantLost("Complete of what is done", e.complete(e.b, j.Lease))
		e.wantIDs("Claim of the next", e.claim(e.b, w, 10, "a"), ids[1])
		e.wantNew("after the commit", uniqueJob("a", backend.Unique{Key: "u"}))
	},
}, {
	name: "tx/complete-rolled-back",
	rule: "a job completed in a transaction that rolls back is still running, its lease held and its keys taken",
	run: func(e *env) {
		job := serialJob("a", "s")
		job.Unique.Key = "u"
		ids := e.pushJobs(e.b, job, serialJob("a", "s"))
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		pusher, tx := e.tx()
		if err := pusher.CompleteTx(e.ctx, tx, backend.Completion{Lease: j.Lease, Result: []byte("r")}); err != nil {
			e.Fatalf("CompleteTx: %v", err)
		}
		if err := tx.Rollback(); err != nil {
			e.Fatalf("Rollback: %v", err)
		}
		if info := e.get(ids[0]); info.State != backend.Running || info.Worker != w.ID || info.Result != nil {
			e.Errorf("the job is %+v", info)
		}
		e.wantDuplicate("after the rollback", uniqueJob("a", backend.Unique{Key: "u"}), ids[0])
		e.wantCounts("a blocked=1 a running=1")
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"))
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed}))
		e.wantIDs("Claim of the next", e.claim(e.b, w, 10, "a"), ids[1])
	},
}, {
	name: "tx/complete-stale",
	rule: "a lease that is not held cannot be completed in a transaction: that is ErrLeaseLost, and changes nothing",
	run: func(e *env) {
		old, j := e.stale()
		pusher, tx := e.tx()
		for _, l := range []backend.Lease{old, {ID: j.ID}, {ID: 1 << 40, Token: j.Token}} {
			if err := pusher.CompleteTx(e.ctx, tx, backend.Completion{Lease: l}); !errors.Is(err, backend.ErrLeaseLost) {
				e.Errorf("CompleteTx of %v = %v, want ErrLeaseLost", l, err)
			}
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantState(j.ID, backend.Running)
		e.wantLost("Complete", e.complete(e.b, j.Lease))
	},
}, {
	name: "tx/complete-cancelled",
	rule: "a cancelled run that is completed in a transaction is done",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		j := e.claim1(e.b, e.worker(), "a")
		e.wantAffected("Cancel", backend.OpCancel, []int64{id}, id)
		pusher, tx := e.tx()
		if err := pusher.CompleteTx(e.ctx, tx, backend.Completion{Lease: j.Lease}); err != nil {
			e.Fatalf("CompleteTx: %v", err)
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantState(id, backend.Done)
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
