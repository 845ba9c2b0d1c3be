package conformance

import (
	"errors"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// pauseGates pauses or resumes gates. A store that cannot skips the case.
func (e *env) pauseGates(paused bool, ids ...int64) {
	e.Helper()
	err := e.gateStore(e.other()).PauseGates(e.ctx, ids, paused)
	if errors.Is(err, errors.ErrUnsupported) {
		e.Skip("the store does not pause gates")
	}
	if err != nil {
		e.Fatalf("PauseGates: %v", err)
	}
}

// wantAlone fails unless the job is in a state, and blocked by no job.
func (e *env) wantAlone(when string, id int64, state backend.State) {
	e.Helper()
	if info := e.get(id); info.State != state || info.BlockedBy != 0 {
		e.Errorf("%s job %d is %v, blocked by %d; want %v", when, id, info.State, info.BlockedBy, state)
	}
}

var pauseCases = []testCase{{
	name: "gate/pause",
	rule: "a claim returns no member of a paused gate, and blocks it; running members end, members can be added, other jobs run, and when the gate is resumed its members run; PauseGates of a gate that does not exist returns ErrNotFound and changes none",
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{}, in(newJob("a"), -1), in(newJob("a"), -1), in(newJob("a"), -1), newJob("a"))
		running := e.claim1(e.b, e.worker(), "a")
		e.pauseGates(true, gate)
		if !e.gate(gate).Paused {
			e.Errorf("Gates does not show that the gate is paused")
		}
		w := e.worker()
		added := e.pushJobs(e.b, in(newJob("a"), gate))[0]
		e.wantIDs("Claim while the gate is paused", e.claim(e.b, w, 10, "a"), ids[3])
		for _, id := range append(ids[1:3:3], added) {
			e.wantAlone("While its gate is paused", id, backend.Blocked)
		}
		e.complete(e.b, running.Lease)
		e.reapUntil(func() bool { return e.gate(gate).Open == 3 })
		e.wantGate("While it is paused", gate, "4/3 1 0 0")
		store := e.gateStore(e.b)
		if err := store.PauseGates(e.ctx, []int64{gate, gate + 1000}, false); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("PauseGates of no gate = %v, want ErrNotFound", err)
		}
		e.wantIDs("Claim after a resume that failed", e.claim(e.b, w, 10, "a"))
		e.pauseGates(false, gate)
		e.reapUntil(func() bool { return e.get(added).State == backend.Pending })
		if e.gate(gate).Paused {
			e.Errorf("Gates shows a gate as paused that was resumed")
		}
		e.wantIDs("Claim after the resume", e.claim(e.b, w, 10, "a"), ids[1], ids[2], added)
	},
}, {
	name: "gate/pause-retry",
	rule: "a member of a paused gate that comes back from a run, or from behind another gate, is not claimed before the gate is resumed; it can be cancelled and deleted",
	run: func(e *env) {
		gates, ids := e.createGates([]backend.NewGate{{}, {Sealed: true}}, in(newJob("a"), -1), in(newJob("a"), -1), in(newJob("first"), -2),
			in(behind(newJob("a"), -2, backend.WhenEnded), -1), in(newJob("a"), -1))
		w := e.worker()
		two := e.claim(e.b, w, 2, "a")
		e.pauseGates(true, gates[0])
		e.fail(e.b, backend.Failure{Lease: two[0].Lease, Ending: backend.EndRetry, Error: "x"})
		e.fail(e.b, backend.Failure{Lease: two[1].Lease, Ending: backend.EndRelease})
		e.complete(e.b, e.claim1(e.b, w, "first").Lease)
		e.reapUntil(func() bool { return e.get(ids[3]).State == backend.Pending })
		e.wantIDs("Claim while the gate is paused", e.claim(e.b, w, 10, "a"))
		for _, id := range []int64{ids[0], ids[1], ids[3], ids[4]} {
			e.wantAlone("While its gate is paused", id, backend.Blocked)
		}
		operator := capability[backend.Operator](e, e.b)
		for op, id := range map[backend.Op]int64{backend.OpCancel: ids[1], backend.OpDelete: ids[4]} {
			if r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: op, Filter: backend.Filter{IDs: []int64{id}}}); err != nil || !slices.Equal(r.Affected, []int64{id}) {
				e.Errorf("Operate(%v) of a blocked member = %+v, %v", op, r, err)
			}
		}
		e.pauseGates(false, gates[0])
		e.reapUntil(func() bool { return e.get(ids[3]).State == backend.Pending })
		e.wantIDs("Claim after the resume", e.claim(e.b, w, 10, "a"), ids[0], ids[3])
	},
}, {
	name: "gate/pause-two",
	rule: "a gate that is created with a paused parent is paused; a member of several gates runs when none is paused",
	run: func(e *env) {
		outer, _ := e.createGate(backend.NewGate{})
		other, _ := e.createGate(backend.NewGate{})
		e.pauseGates(true, outer, other)
		inner, ids := e.createGate(backend.NewGate{Parent: outer}, in(newJob("a"), other, -1))
		if !e.gate(inner).Paused {
			e.Errorf("a gate in a paused gate is not paused")
		}
		w := e.worker()
		e.wantIDs("Claim while both gates are paused", e.claim(e.b, w, 10, "a"))
		e.pauseGates(false, inner, outer)
		e.reap(e.b, backend.ReapRequest{})
		e.wantIDs("Claim while one gate is paused", e.claim(e.b, w, 10, "a"))
		e.wantAlone("While one gate is paused", ids[0], backend.Blocked)
		e.pauseGates(false, other)
		e.reapUntil(func() bool { return e.get(ids[0]).State == backend.Pending })
		e.wantIDs("Claim while no gate is paused", e.claim(e.b, w, 10, "a"), ids...)
	},
}, {
	name: "gate/pause-keys",
	rule: "a blocked member of a paused gate leaves its serial key to the next job and joins it when the gate is resumed; it keeps its unique key; it expires, and the deadline of the gate cancels it",
	run: func(e *env) {
		first, second := in(newJob("a"), -1), newJob("a")
		first.Serial, second.Serial = "k", "k"
		unique, expires := in(newJob("b"), -1), in(newJob("c"), -1)
		unique.Unique = backend.Unique{Key: "u", Scope: backend.UntilStarted}
		expires.Expires = e.unit
		gate, ids := e.createGate(backend.NewGate{Deadline: 4 * e.unit}, first, second, unique, expires)
		e.pauseGates(true, gate)
		w := e.worker()
		w.Lease = time.Hour
		e.claim(e.b, w, 10, "b", "c")
		e.claim(e.b, w, 10, "a")
		if got := e.claim(e.b, w, 10, "a"); len(got) != 0 || e.get(ids[1]).State != backend.Running {
			e.Errorf("the next job of the serial key is %v", e.get(ids[1]).State)
		}
		again := newJob("b")
		again.Unique = unique.Unique
		if got, err := e.b.Push(e.ctx, []backend.NewJob{again}); err != nil || !got[0].Duplicate || got[0].ID != ids[2] {
			e.Errorf("a push with the unique key of the blocked job returned %+v, %v", got, err)
		}
		e.advance(e.unit)
		e.reapUntil(func() bool { return e.get(ids[3]).State == backend.Cancelled })
		e.wantAlone("After it has expired", ids[3], backend.Cancelled)
		e.pauseGates(false, gate)
		e.reapUntil(func() bool { return e.get(ids[0]).BlockedBy == ids[1] })
		if info := e.get(ids[0]); info.State != backend.Blocked || info.BlockedBy != ids[1] {
			e.Errorf("after the resume the first job of the serial key is %v, blocked by %d", info.State, info.BlockedBy)
		}
		e.pauseGates(true, gate)
		e.advance(4 * e.unit)
		e.reapUntil(func() bool { return !e.gate(gate).EndedAt.IsZero() })
		e.wantAlone("After the deadline", ids[2], backend.Cancelled)
	},
}, {
	name: "gate/pause-many",
	rule: "members of a paused gate keep no other job from being claimed, whatever their number, and all run after the resume",
	run: func(e *env) {
		const members = 1500
		gate, _ := e.createGate(backend.NewGate{})
		jobs := make([]backend.NewJob, 500)
		for i := range jobs {
			jobs[i] = in(newJob("a"), gate)
		}
		for range members / len(jobs) {
			e.pushJobs(e.b, jobs...)
		}
		id := e.push(e.b, "a", 1)[0]
		e.pauseGates(true, gate)
		w := e.worker()
		w.Lease = time.Hour
		var got []backend.Job
		for range 50 {
			if got = e.claim(e.b, w, 100, "a"); len(got) > 0 {
				break
			}
		}
		e.wantIDs("Claim behind a paused gate", got, id)
		e.pauseGates(false, gate)
		run := 0
		e.reapUntil(func() bool {
			for {
				some := e.claim(e.b, w, 1000, "a")
				if run += len(some); len(some) == 0 {
					return run == members
				}
			}
		})
		if run != members {
			e.Errorf("after the resume %d members ran, want %d", run, members)
		}
	},
}, {
	name: "gate/pause-import",
	rule: "an export and import keeps that a gate is paused; its blocked members are exported as pending",
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{}, in(newJob("a"), -1))
		e.pauseGates(true, gate)
		w := e.worker()
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"))
		batch := e.exportAll(e.b, 3)
		if len(batch.Jobs) != 1 || batch.Jobs[0].State != backend.Pending {
			e.Errorf("Export = %+v, want the member as pending", batch.Jobs)
		}
		batch.Gates = []backend.GateInfo{e.gate(gate)}
		e.b = e.elsewhere()
		e.imports(e.b, batch)
		w = e.worker()
		e.wantIDs("Claim from the copy", e.claim(e.b, w, 10, "a"))
		if err := e.gateStore(e.b).PauseGates(e.ctx, []int64{gate}, false); err != nil {
			e.Errorf("PauseGates: %v", err)
		}
		e.reapUntil(func() bool { return e.get(ids[0]).State == backend.Pending })
		e.wantIDs("Claim after the resume", e.claim(e.b, w, 10, "a"), ids...)
	},
}}
