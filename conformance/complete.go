package conformance

import (
	"bytes"
	"reflect"

	"github.com/plainjobs/plainjobs/backend"
)

var completeCases = []testCase{{
	name: "complete/done",
	rule: "a completed job is done and not claimed again",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		e.wantLost("Complete", e.complete(e.b, j.Lease))
		e.advance(2 * e.unit)
		e.reap(e.b, backend.ReapRequest{Expired: true})
		e.wantIDs("Claim", e.claimAny(e.b, e.worker(), 10, "a"))
		info := e.get(id)
		if info.State != backend.Done || info.FinishedAt.IsZero() || info.Failures != 0 || info.Worker != 0 {
			e.Errorf("completed job is %+v", info)
		}
	},
}, {
	name: "complete/result",
	rule: "the result of a completion is kept with the job",
	run: func(e *env) {
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, e.worker(), 2, "a")
		result := []byte("\x00\xffresult")
		done := []backend.Completion{{Lease: jobs[0].Lease, Result: bytes.Clone(result)}, {Lease: jobs[1].Lease}}
		if lost, err := e.b.Complete(e.ctx, done); len(lost) > 0 || err != nil {
			e.Fatalf("Complete = %v, %v", lost, err)
		}
		done[0].Result[0] = 'x'
		for range 2 {
			if info := e.get(ids[0]); !bytes.Equal(info.Result, result) {
				e.Errorf("the result is %q, want %q", info.Result, result)
			}
			e.wantLost("Complete again", e.complete(e.other(), jobs[0].Lease))
		}
		if info := e.get(ids[1]); info.Result != nil {
			e.Errorf("the result of a run without one is %q", info.Result)
		}
	},
}, {
	name: "complete/stale",
	rule: "completing with a lease that was reaped and claimed again changes nothing and returns it as lost",
	run: func(e *env) {
		old, j := e.stale()
		before := e.get(j.ID)
		e.wantLost("Complete of the old lease", e.complete(e.b, old), old)
		if after := e.get(j.ID); !reflect.DeepEqual(before, after) {
			e.Errorf("the job was %+v and is %+v", before, after)
		}
		e.wantLost("Complete of the live lease", e.complete(e.b, j.Lease))
		e.wantLost("Complete of the old lease after", e.complete(e.b, old), old)
	},
}, {
	name: "complete/reaped",
	rule: "a rescue revokes a lease before the job is claimed again",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		j := e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		e.wantLost("Complete", e.complete(e.b, j.Lease), j.Lease)
		for _, ending := range endings {
			e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: ending}), j.Lease)
		}
		e.wantState(id, backend.Pending)
	},
}, {
	name: "complete/expired-unreaped",
	rule: "a lease is held after its time has passed",
	run: func(e *env) {
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, e.worker(), 2, "a")
		e.advance(100 * e.unit)
		e.wantLost("Complete", e.complete(e.b, jobs[0].Lease))
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed}))
		e.wantState(ids[0], backend.Done)
		e.wantState(ids[1], backend.Failed)
	},
}, {
	name: "complete/wrong-token",
	rule: "a lease is a pair: the token of another job settles nothing",
	run: func(e *env) {
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, e.worker(), 2, "a")
		crossed := []backend.Lease{
			{ID: jobs[0].ID, Token: jobs[1].Token},
			{ID: jobs[1].ID, Token: jobs[0].Token},
			{ID: jobs[0].ID}, {ID: jobs[0].ID, Token: jobs[0].Token + 1}, {ID: 1 << 40, Token: jobs[0].Token},
		}
		e.wantLost("Complete", e.complete(e.b, crossed...), crossed...)
		for _, l := range crossed {
			e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: l, Ending: backend.EndFailed}), l)
		}
		for _, id := range ids {
			e.wantState(id, backend.Running)
		}
	},
}, {
	name: "complete/mixed",
	rule: "the held leases of a batch are settled although others are lost",
	run: func(e *env) {
		ids := e.push(e.b, "a", 300)
		jobs := e.claim(e.b, e.worker(), 300, "a")
		leases := make([]backend.Lease, len(jobs))
		var lost []backend.Lease
		for i, j := range jobs {
			leases[i] = j.Lease
			if i%7 == 0 {
				leases[i].Token += 1000
				lost = append(lost, leases[i])
			}
		}
		e.wantLost("Complete", e.complete(e.b, leases...), lost...)
		for i, id := range ids {
			if want := map[bool]backend.State{true: backend.Running, false: backend.Done}[i%7 == 0]; e.state(id) != want {
				e.Fatalf("job %d is %v, want %v", id, e.state(id), want)
			}
		}
	},
}, {
	name: "complete/other-handle",
	rule: "a lease may be settled through any handle on the store",
	run: func(e *env) {
		e.push(e.b, "a", 2)
		jobs := e.claim(e.b, e.worker(), 2, "a")
		e.wantLost("Complete", e.complete(e.store.Open(e), jobs[0].Lease, jobs[1].Lease))
		e.wantCounts("a done=2")
	},
}, {
	name: "complete/empty-result",
	rule: "an empty result is stored as empty, and a nil result as none",
	run: func(e *env) {
		reader := e.reader()
		for want, result := range map[string][]byte{"empty": {}, "nil": nil} {
			id := e.push(e.b, "a", 1)[0]
			job := e.claim1(e.b, e.worker(), "a")
			if lost, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: job.Lease, Result: result}}); err != nil || len(lost) > 0 {
				e.Fatalf("Complete = %v, %v", lost, err)
			}
			info, err := reader.Get(e.ctx, id)
			if err != nil || len(info.Result) != 0 || (info.Result == nil) != (result == nil) {
				e.Errorf("the %s result is %#v, %v", want, info.Result, err)
			}
		}
	},
}}
