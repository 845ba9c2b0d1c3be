package conformance

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

var orderCases = []testCase{{
	name: "order/turns",
	rule: "a job that waits again is claimed after the waiting jobs of its priority, over all names together",
	run: func(e *env) {
		w := e.worker()
		for _, end := range []backend.Ending{backend.EndRetry, backend.EndSnooze} {
			for _, names := range [][]string{{"a"}, {"a", "b"}} {
				first := e.pushJobs(e.b, newJob("a"), newJob("a"))
				held := e.claim(e.b, w, 2, names...)
				e.advance(e.unit / 10)
				second := e.pushJobs(e.b, newJob(names[len(names)-1]), newJob("a"))
				e.advance(e.unit / 10)
				e.fail(e.b, backend.Failure{Lease: held[1].Lease, Ending: end})
				e.advance(e.unit / 10)
				e.fail(e.b, backend.Failure{Lease: held[0].Lease, Ending: end})
				e.advance(e.unit / 10)
				urgent := newJob("a")
				urgent.Priority = 1
				third := e.pushJobs(e.b, newJob("a"), urgent)
				got := e.claim(e.b, w, 10, names...)
				e.wantIDs(fmt.Sprintf("Claim of %q after the ending %d", names, end), got, third[1], second[0], second[1], first[1], first[0], third[0])
				e.completeAll(got)
			}
		}
	},
}, {
	name: "order/due",
	rule: "the place of a delayed or retried job is its RunAt, whatever its ID and whenever it became pending",
	run: func(e *env) {
		w := e.worker()
		e.push(e.b, "a", 1)
		held := e.claim1(e.b, w, "a")
		late := e.pushJobs(e.b, after(3*e.unit, newJob("a")), after(e.unit, newJob("a")))
		e.fail(e.b, backend.Failure{Lease: held.Lease, Ending: backend.EndRetry, Delay: 2 * e.unit})
		e.advance(e.unit / 2)
		now := e.push(e.b, "a", 1)
		e.advance(e.unit)
		between := e.push(e.b, "a", 1)
		e.reap(e.b, backend.ReapRequest{})
		e.advance(3 * e.unit)
		last := e.push(e.b, "a", 1)
		got := e.claim(e.b, w, 10, "a")
		e.wantIDs("Claim", got, now[0], late[1], between[0], held.ID, late[0], last[0])
	},
}, {
	name: "order/kept",
	rule: "a job that is released, rescued, unblocked, resumed or replaced without a delay keeps its place",
	run: func(e *env) {
		for _, way := range back[3:] {
			if !e.can(way) {
				continue
			}
			name, w := way.job(), e.worker()
			first := e.push(e.b, name, 2)
			held := e.claim1(e.b, w, name)
			e.advance(e.unit / 10)
			last := e.push(e.b, name, 1)
			way.take(e, w, held)
			w = e.worker()
			got := e.claimAny(e.b, w, 1, name)
			got = append(got, e.claim(e.b, w, 10, name)...)
			e.wantIDs("Claim after "+way.name, got, first[0], first[1], last[0])
			e.completeAll(got)
		}
		w := e.worker()
		serial := []int64{e.pushJobs(e.b, serialJob("a", "k"))[0], e.pushJobs(e.b, serialJob("a", "k"))[0]}
		e.advance(e.unit / 10)
		head := e.claim1(e.b, w, "a")
		last := e.push(e.b, "a", 1)
		e.advance(e.unit / 10)
		e.complete(e.b, head.Lease)
		got := e.claim(e.b, w, 10, "a")
		e.wantIDs("Claim when the head has ended", got, serial[1], last[0])
		e.completeAll(got)
		if _, ok := e.b.(backend.SettingsStore); ok {
			e.pause(e.b, "a", true)
			paused := e.push(e.b, "a", 1)
			e.advance(e.unit / 10)
			last := e.push(e.b, "b", 1)
			e.pause(e.b, "a", false)
			got := e.claim(e.b, w, 10, "a", "b")
			e.wantIDs("Claim of the resumed", got, paused[0], last[0])
			e.completeAll(got)
		}
		replace := uniqueJob("a", backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace})
		id := e.wantNew("the first", replace)
		e.advance(e.unit / 10)
		last = e.push(e.b, "a", 1)
		e.wantDuplicate("Replace", replace, id)
		e.wantIDs("Claim of the replaced", e.claim(e.b, w, 10, "a"), id, last[0])
	},
}, {
	name: "order/operator",
	rule: "a job that an operator retries stands behind the waiting jobs, and can get another priority",
	run: func(e *env) {
		operator := capability[backend.Operator](e, e.b)
		w := e.worker()
		low := int16(-5)
		for _, c := range []struct {
			priority *int16
			behind   bool // those that are pushed later
		}{{nil, false}, {&low, true}} {
			e.push(e.b, "a", 2)
			for _, j := range e.claim(e.b, w, 2, "a") {
				e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed})
			}
			page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{States: []backend.State{backend.Failed}}})
			if err != nil || len(page.Jobs) != 2 {
				e.Fatalf("List = %+v, %v", page, err)
			}
			later := e.pushJobs(e.b, after(100*e.unit, newJob("a")))[0]
			ids := []int64{page.Jobs[1].ID, page.Jobs[0].ID, later}
			waiting := e.push(e.b, "a", 1)
			e.advance(e.unit / 10)
			r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: ids}, Priority: c.priority})
			if err != nil || !slices.Equal(r.Affected, ids) {
				e.Fatalf("Operate = %+v, %v; want %v affected", r, err, ids)
			}
			e.advance(e.unit / 10)
			fresh := e.push(e.b, "a", 1)
			want := slices.Concat(waiting, ids, fresh)
			if c.behind {
				want = slices.Concat(waiting, fresh, ids)
			}
			got := e.claim(e.b, w, 10, "a")
			e.wantIDs("Claim", got, want...)
			for _, j := range got {
				if retried := slices.Contains(ids, j.ID); retried && c.priority != nil && j.Priority != low || !retried && j.Priority != 0 {
					e.Errorf("Claim returned job %d with the priority %d", j.ID, j.Priority)
				}
			}
			e.completeAll(got)
		}
		req := backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{Names: []string{"a"}}, Priority: &low}
		if _, err := operator.Operate(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("Operate that cancels and gives a priority = %v, want ErrInvalid", err)
		}
	},
}}

// completeAll completes claimed jobs.
func (e *env) completeAll(jobs []backend.Job) {
	e.Helper()
	for _, j := range jobs {
		e.wantLost("Complete", e.complete(e.b, j.Lease))
	}
}
