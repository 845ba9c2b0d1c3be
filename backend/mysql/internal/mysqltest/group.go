package mysqltest

import (
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// member returns a job that counts in gates.
func member(gates ...int64) backend.NewJob {
	j := newJob("m")
	j.Gating = &backend.Gating{Gates: gates}
	return j
}

// testGroupOverdue has ten overdue gates with inner gates to which an open transaction adds jobs.
// They keep no other gate from its deadline, and Reap does not ask to be called again at once.
func testGroupOverdue(t *testing.T) {
	s := recycled(t)
	b := s.open(t)
	create := func(jobs []backend.NewJob, gates ...backend.NewGate) backend.GateResult {
		r, err := b.CreateGates(t.Context(), nil, backend.GateRequest{Gates: gates, Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var jobs []backend.NewJob
	for range 10 {
		r := create(nil, backend.NewGate{Deadline: time.Microsecond}, backend.NewGate{Parent: -1})
		jobs = append(jobs, member(r.Gates[1]))
	}
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := b.PushTx(t.Context(), tx, jobs); err != nil {
		t.Fatal(err)
	}
	other := create([]backend.NewJob{member(-1)}, backend.NewGate{Deadline: time.Microsecond})
	for calls := 1; ; calls++ {
		r, err := b.Reap(t.Context(), backend.ReapRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if !r.More {
			break
		}
		if calls == 10 {
			t.Fatal("Reap returned More 10 times")
		}
	}
	if info, err := b.Get(t.Context(), other.Jobs[0].ID); err != nil || info.State != backend.Cancelled {
		t.Errorf("the member of another overdue gate is %v, %v", info.State, err)
	}
}

// testGroupKeyHeld ends a gate whose waiter has a key that an open transaction of the application
// holds. Another gate is folded meanwhile, and the transaction may add to a third.
func testGroupKeyHeld(t *testing.T) {
	s := recycled(t)
	b := s.open(t)
	held, next := newJob("w"), newJob("w")
	held.Serial = "k"
	held.Gating = &backend.Gating{Gate: -1, When: backend.WhenEnded}
	next.Gating = &backend.Gating{Gate: -2, When: backend.WhenEnded}
	r, err := b.CreateGates(t.Context(), nil, backend.GateRequest{
		Gates: []backend.NewGate{{Sealed: true}, {Sealed: true}, {}}, Jobs: []backend.NewJob{member(-1), member(-2), held, next}})
	if err != nil {
		t.Fatal(err)
	}
	claim := backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"m"}, Limit: 2}
	claimed, err := b.Claim(t.Context(), claim)
	if err != nil || len(claimed) != 2 {
		t.Fatal(claimed, err)
	}
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	free := newJob("w")
	free.Serial = "k"
	if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{free}); err != nil {
		t.Fatal(err)
	}
	if lost, err := b.Complete(t.Context(), []backend.Completion{{Lease: claimed[0].Lease}, {Lease: claimed[1].Lease}}); err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	state := func(i int) backend.State {
		info, err := b.Get(t.Context(), r.Jobs[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		return info.State
	}
	until(t, func() bool { return state(3) == backend.Pending })
	if state := state(2); state != backend.Blocked {
		t.Errorf("the waiter whose key is held is %v", state)
	}
	if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{member(r.Gates[2])}); err != nil {
		t.Errorf("PushTx to another gate: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return state(2) == backend.Pending })
}
