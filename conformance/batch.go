package conformance

import (
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// These cases are about jobs that are pushed or claimed together, which a store may
// keep together.
var batchCases = []testCase{{
	name: "batch/holes",
	rule: "a job that leaves the middle of a batch takes no other job with it: the rest is claimed once, in order",
	run: func(e *env) {
		operator := capability[backend.Operator](e, e.b)
		w := e.worker()
		for _, op := range []backend.Op{backend.OpCancel, backend.OpDelete} {
			ids := e.push(e.b, "a", 12)
			gone := []int64{ids[0], ids[3], ids[4], ids[5], ids[8], ids[11]}
			for _, hole := range [][]int64{{gone[4]}, {gone[1], gone[3]}, {gone[0]}, {gone[2], gone[5]}} {
				e.wantAffected("holes", op, hole, hole...)
			}
			rest := slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return slices.Contains(gone, id) })
			got := append(e.claim(e.b, w, 2, "a"), e.claim(e.b, w, 20, "a")...)
			e.wantIDs("Claim of the rest", got, rest...)
			e.completeAll(got)
			e.wantIDs("Claim after all", e.claim(e.b, w, 20, "a"))
		}
		// Jobs that come back are claimed next to those that stayed.
		ids := e.push(e.b, "a", 9)
		held := e.claim(e.b, w, 5, "a")
		e.fail(e.b, backend.Failure{Lease: held[3].Lease, Ending: backend.EndRelease})
		e.fail(e.b, backend.Failure{Lease: held[1].Lease, Ending: backend.EndFailed})
		e.advance(e.unit / 10)
		high := int16(7)
		r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: ids}, Priority: &high})
		if err != nil || !slices.Equal(r.Affected, ids[1:2]) {
			e.Fatalf("Operate = %+v, %v; want only job %d affected", r, err, ids[1])
		}
		got := e.claim(e.b, w, 20, "a")
		e.wantIDs("Claim of the returned", got, ids[1], ids[3], ids[5], ids[6], ids[7], ids[8])
		e.completeAll(got)
		e.completeAll([]backend.Job{held[0], held[2], held[4]})
	},
}, {
	name: "batch/mixed",
	rule: "the jobs of one batch are claimed in the order of claims, whatever their names, priorities and delays",
	run: func(e *env) {
		var jobs []backend.NewJob
		for i := range 24 {
			j := newJob([]string{"a", "a", "b", "a", "c", "b"}[i%6])
			j.Priority = int16(i / 8 % 2)
			if i%7 == 6 {
				j = after(e.unit, j)
			}
			jobs = append(jobs, j)
		}
		ids := e.pushJobs(e.b, jobs...)
		var high, low, late []int64
		for i, j := range jobs {
			switch {
			case j.Delay > 0:
				late = append(late, ids[i])
			case j.Priority > 0:
				high = append(high, ids[i])
			default:
				low = append(low, ids[i])
			}
		}
		w, names := e.worker(), []string{"a", "b", "c"}
		got := append(e.claim(e.b, w, 3, names...), e.claim(e.b, w, 100, names...)...)
		e.wantIDs("Claim of the batch", got, slices.Concat(high, low)...)
		e.advance(2 * e.unit)
		got = append(got, e.claim(e.b, w, 100, names...)...)
		if len(got) != len(jobs) {
			e.Errorf("%d jobs were claimed of %d, with %v due", len(got), len(jobs), late)
		}
		e.completeAll(got)
	},
}, {
	name: "batch/rescued",
	rule: "Reap rescues all jobs that a dead worker holds, from whatever claims, and none that it has settled",
	run: func(e *env) {
		w := e.worker()
		var held []backend.Job
		for range 3 {
			e.push(e.b, "a", 4)
			e.push(e.b, "b", 2)
			held = append(held, e.claim(e.b, w, 6, "a", "b")...)
		}
		var want []int64
		for i, j := range held {
			switch i % 4 {
			case 1:
				e.wantLost("Complete", e.complete(e.b, j.Lease))
			case 2:
				e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndCancelled})
			default:
				want = append(want, j.ID)
			}
		}
		if r := e.reap(e.b, backend.ReapRequest{Dead: []int64{w.ID}}); r.Rescued != len(want) {
			e.Errorf("Reap rescued %d jobs, want %d", r.Rescued, len(want))
		}
		for _, j := range held {
			e.wantLost("Complete after the rescue", e.complete(e.b, j.Lease), lostUnless(e, j)...)
		}
		var got []backend.Job
		next := e.worker()
		for range want {
			got = append(got, e.claimAny(e.b, next, 10, "a", "b")...)
		}
		slices.SortFunc(got, func(x, y backend.Job) int { return int(x.ID - y.ID) })
		slices.Sort(want)
		e.wantIDs("Claims of the rescued", got, want...)
		e.completeAll(got)
	},
}, {
	name: "batch/back",
	rule: "a job that comes back and runs again leaves the leases that were claimed with it as they are",
	run: func(e *env) {
		w, other := e.worker(), e.worker()
		e.push(e.b, "a", 5)
		held := e.claim(e.b, w, 5, "a")
		e.fail(e.b, backend.Failure{Lease: held[2].Lease, Ending: backend.EndRetry})
		again := e.claim1(e.b, other, "a")
		if again.ID != held[2].ID {
			e.Fatalf("Claim = job %d, want %d", again.ID, held[2].ID)
		}
		e.wantLost("Complete of the first run", e.complete(e.b, held[2].Lease), held[2].Lease)
		if beater, ok := e.b.(backend.Heartbeater); ok {
			for _, c := range []struct {
				w    backend.Worker
				want []backend.Lease
			}{{w, []backend.Lease{held[0].Lease, held[1].Lease, held[3].Lease, held[4].Lease}}, {other, []backend.Lease{again.Lease}}} {
				r, err := beater.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: c.w})
				if err != nil || !slices.Equal(r.Leases, c.want) {
					e.Errorf("Heartbeat = %v, %v; want the leases %v", r.Leases, err, c.want)
				}
			}
		}
		e.completeAll([]backend.Job{again, held[0], held[1], held[3], held[4]})
		for _, j := range held {
			e.wantState(j.ID, backend.Done)
		}
		if r := e.reap(e.b, backend.ReapRequest{Dead: []int64{w.ID, other.ID}}); r.Rescued != 0 {
			e.Errorf("Reap rescued %d jobs that are done", r.Rescued)
		}
	},
}, {
	name: "batch/in-front",
	rule: "jobs of names that may not be claimed hide no other job, however many of them come first",
	run: func(e *env) {
		capability[backend.SettingsStore](e, e.b)
		var jobs []backend.NewJob
		for range 400 { // no two jobs of a name follow each other
			jobs = append(jobs, newJob("paused"), newJob("limited"), newJob("elsewhere"))
		}
		limited := e.pushJobs(e.b, jobs...)[1]
		e.pause(e.b, "paused", true)
		e.set(e.b, backend.Settings{Name: "limited", MaxRunning: 1})
		e.advance(e.unit / 10)
		want := e.pushJobs(e.b, newJob("c"), newJob("b"), newJob("c"), newJob("d"))
		urgent := newJob("d")
		urgent.Priority = -1
		want = append(want, e.pushJobs(e.b, urgent)...)
		w, names := e.worker(), []string{"limited", "paused", "b", "c", "d", "e"}
		for range 2 {
			got := e.claim(e.b, w, 3, names...)
			e.wantIDs("Claim behind the others", got, limited, want[0], want[1])
			got = append(got, e.claim(e.b, w, 10, names...)...)
			e.wantIDs("Claims behind the others", got[1:], want...)
			for _, j := range got {
				e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRelease})
			}
		}
	},
}}

// lostUnless returns the lease of a job that is not done.
func lostUnless(e *env, j backend.Job) []backend.Lease {
	if e.state(j.ID) == backend.Done {
		return nil
	}
	return []backend.Lease{j.Lease}
}
