package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// wantHaveKeys lists the jobs of a name that have unique keys.
func (e *env) wantHaveKeys(name string, ids ...int64) {
	e.Helper()
	page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{name}, HasKey: true}})
	var got []int64
	for _, j := range page.Jobs {
		got = append(got, j.ID)
	}
	if err != nil || !slices.Equal(got, ids) {
		e.Errorf("List of jobs that have unique keys = %v, %v; want %v", got, err, ids)
	}
}

var operateCases = []testCase{{
	name: "operate/cancel-waiting",
	rule: "cancelling ends a waiting job at once and gives its keys back",
	run: func(e *env) {
		job := serialJob("a", "s")
		job.Unique.Key = "u"
		ids := e.pushJobs(e.b, job, serialJob("a", "s"), serialJob("a", "s"), after(e.unit, newJob("b")), newJob("b"), newJob("b"))
		e.wantAffected("Cancel of a blocked job", backend.OpCancel, ids[1:2], ids[1])
		e.wantAffected("Cancel", backend.OpCancel, []int64{ids[0], ids[3], ids[4]}, ids[0], ids[3], ids[4])
		for _, i := range []int{0, 1, 3, 4} {
			e.wantCancelled("cancelled", ids[i], backend.CancelledError)
		}
		e.wantAffected("Cancel of the cancelled", backend.OpCancel, ids[3:5])
		last := e.wantNew("after the cancel", uniqueJob("a", backend.Unique{Key: "u"}))
		e.advance(2 * e.unit)
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "b", "a"), ids[2], ids[5], last)
	},
}, {
	name: "operate/cancel-running",
	rule: "the next heartbeat reports a cancelled running job to its worker, and to no other",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		ids := e.push(e.b, "a", 3)
		w := e.worker()
		jobs := e.claim(e.b, w, 3, "a")
		e.wantAffected("Cancel", backend.OpCancel, ids[1:2], ids[1])
		if info := e.get(ids[1]); info.State != backend.Running || !info.Cancelling || info.Worker != w.ID {
			e.Errorf("the cancelled job is %+v", info)
		}
		if info := e.get(ids[0]); info.Cancelling {
			e.Errorf("another job is %+v", info)
		}
		r, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w})
		if err != nil || len(r.Leases) != 3 || !slices.Equal(r.Cancel, []backend.Lease{jobs[1].Lease}) {
			e.Errorf("Heartbeat = %+v, %v; want job %d cancelled", r, err, ids[1])
		}
		e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndCancelled})
		if info := e.get(ids[1]); info.Cancelling {
			e.Errorf("the ended job is %+v", info)
		}
		if r, err = heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w}); err != nil || len(r.Cancel) > 0 {
			e.Errorf("Heartbeat = %+v, %v; want nothing cancelled", r, err)
		}
	},
}, {
	name: "operate/cancel-complete",
	rule: "a cancelled run that is completed is done",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		e.wantAffected("Cancel", backend.OpCancel, []int64{id}, id)
		for range 2 {
			e.wantLost("Complete", e.complete(e.b, j.Lease))
		}
		e.wantState(id, backend.Done)
		e.wantAffected("Retry", backend.OpRetry, []int64{id}, id)
		e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndRetry})
		e.wantState(id, backend.Pending) // the cancel was of the run before
	},
}, {
	name: "operate/cancel-ends",
	rule: "a cancelled run ends its job as cancelled, except by Complete, and spends no attempt; a repeated settlement succeeds",
	run: func(e *env) {
		for _, way := range slices.Concat(back, out[1:]) {
			if !e.can(way) {
				continue
			}
			ids := e.pushJobs(e.b, serialJob(way.job(), "k"), serialJob(way.job(), "k"))
			w := e.worker()
			j := e.claim1(e.b, w, way.job())
			e.wantAffected("Cancel", backend.OpCancel, ids[:1], ids[0])
			way.take(e, w, j)
			text := "text of " + way.name
			if way.name == rescue.name || way.name == leave.name || way.name == "release" {
				text = backend.CancelledError
			}
			e.wantCancelled(way.name, ids[0], text)
			if info := e.get(ids[0]); info.Failures != 0 || info.Cancelling {
				e.Errorf("after %s the job is %+v", way.name, info)
			}
			e.wantLost("Complete after "+way.name, e.complete(e.b, j.Lease), j.Lease)
			e.advance(60 * e.unit)
			e.wantIDs("Claim after "+way.name, e.claimAny(e.b, e.worker(), 10, way.job()), ids[1])
		}
	},
}, {
	name: "operate/cancel-suspect",
	rule: "a cancelled suspect that crashes its worker once more is cancelled, not failed",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		for range backend.DefaultMaxCrashes {
			e.claim1(e.b, e.worker(), "a")
			e.crash(e.b)
		}
		e.claim1(e.b, e.worker(), "a")
		e.wantAffected("Cancel", backend.OpCancel, []int64{id}, id)
		e.crash(e.b)
		e.wantCancelled("after the last crash", id, backend.CancelledError)
	},
}, {
	name: "operate/prioritize",
	rule: "OpPrioritize gives waiting jobs another priority and leaves their place among jobs of that priority; other jobs stay as they are",
	run: func(e *env) {
		w := e.worker()
		ids := e.push(e.b, "a", 7)
		jobs := e.claim(e.b, w, 2, "a")
		e.complete(e.b, jobs[0].Lease)
		ids = append(ids, e.pushJobs(e.b, after(e.unit, newJob("a")))...)
		set := func(p int16, ids []int64, want ...int64) {
			e.Helper()
			r, err := capability[backend.Operator](e, e.b).Operate(e.ctx, backend.OperateRequest{Op: backend.OpPrioritize, Filter: backend.Filter{IDs: ids}, Priority: &p})
			if err != nil || !slices.Equal(r.Affected, want) {
				e.Errorf("Operate to priority %d = %+v, %v; want %v affected", p, r, err, want)
			}
		}
		before := e.get(ids[4])
		set(5, ids[:2])
		set(5, []int64{ids[4], ids[7]}, ids[4], ids[7])
		set(-5, ids[2:4], ids[2:4]...)
		set(5, ids[6:7], ids[6])
		set(0, ids[6:7], ids[6])
		if after := e.get(ids[4]); after.Priority != 5 || !after.RunAt.Equal(before.RunAt) || after.State != backend.Pending {
			e.Errorf("the job is %+v, before %+v", after, before)
		}
		if info := e.get(ids[7]); info.Priority != 5 || info.State != backend.Scheduled {
			e.Errorf("the scheduled job is %+v", info)
		}
		e.advance(2 * e.unit)
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"), ids[4], ids[7], ids[5], ids[6], ids[2], ids[3])
	},
}, {
	name:  "operate/prioritize-blocked",
	rule:  "OpPrioritize leaves a blocked job blocked, and the job has the priority when it is the head",
	needs: backend.FieldSerial,
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"), newJob("a"))
		high := int16(9)
		_, err := capability[backend.Operator](e, e.b).Operate(e.ctx, backend.OperateRequest{Op: backend.OpPrioritize, Filter: backend.Filter{IDs: ids[1:2]}, Priority: &high})
		if info := e.get(ids[1]); err != nil || info.State != backend.Blocked || info.Priority != 9 || info.BlockedBy != ids[0] {
			e.Errorf("the blocked job is %+v, %v", info, err)
		}
		w := e.worker()
		first := e.claim1(e.b, w, "a")
		if first.ID != ids[0] {
			e.Errorf("Claim returned job %d", first.ID)
		}
		e.complete(e.b, first.Lease)
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"), ids[1], ids[2])
	},
}, {
	name: "operate/delete",
	rule: "OpDelete deletes waiting and finished jobs, never running ones",
	run: func(e *env) {
		w := e.worker()
		ids := e.push(e.b, "a", 4)
		jobs := e.claim(e.b, w, 4, "a")
		e.complete(e.b, jobs[0].Lease)
		e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed}, backend.Failure{Lease: jobs[2].Lease, Ending: backend.EndCancelled})
		ids = append(ids, e.pushJobs(e.b, newJob("a"), after(e.unit, newJob("a")), serialJob("a", "k"), serialJob("a", "k"))...)
		e.wantAffected("Delete", backend.OpDelete, ids, slices.Concat(ids[:3], ids[4:])...)
		e.wantCounts("a running=1")
		e.wantLost("Complete of the deleted", e.complete(e.b, jobs[0].Lease), jobs[0].Lease)
		e.wantLost("Complete of the running", e.complete(e.b, jobs[3].Lease))
		e.advance(2 * e.unit)
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"))
		if next := e.push(e.b, "a", 1)[0]; next <= ids[7] {
			e.Errorf("ID %d is used again", next)
		}
	},
}, {
	name: "operate/delete-keys",
	rule: "a deleted job gives its keys back, also a key that For would keep",
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"), serialJob("a", "k"))
		e.wantAffected("Delete of a blocked job", backend.OpDelete, ids[1:2], ids[1])
		e.wantState(ids[2], backend.Blocked)
		e.wantAffected("Delete of the first", backend.OpDelete, ids[:1], ids[0])
		e.wantState(ids[2], backend.Pending)
		job := uniqueJob("b", backend.Unique{Key: "k"})
		id := e.wantNew("the first", job)
		e.wantAffected("Delete", backend.OpDelete, []int64{id}, id)
		e.wantNew("after Delete", job)
		for _, end := range append([]way{{name: "wait"}}, out...) {
			for _, scope := range []backend.Scope{backend.UntilFinished, backend.UntilStarted} {
				job := uniqueJob(fmt.Sprint(end.job(), scope), backend.Unique{Key: "kept", Scope: scope, For: 50 * e.unit})
				id := e.wantNew("the first", job)
				if end.take != nil {
					w := e.worker()
					end.take(e, w, e.claim1(e.b, w, job.Name))
				}
				e.wantAffected("Delete", backend.OpDelete, []int64{id}, id)
				other := e.wantNew("after Delete", job)
				e.wantDuplicate("after Delete and Push", job, other)
			}
		}
	},
}, {
	name: "operate/free",
	rule: "OpFree gives back a unique key that is kept by For alone, and leaves the job; the key of a waiting job, or of a running one with UntilFinished, stays",
	run: func(e *env) {
		w := e.worker()
		for _, scope := range []backend.Scope{backend.UntilFinished, backend.UntilStarted} {
			job := uniqueJob(fmt.Sprint("a", scope), backend.Unique{Key: "k", Scope: scope, For: 50 * e.unit})
			id := e.wantNew("the first", job)
			e.wantAffected("Free of one that waits", backend.OpFree, []int64{id})
			j := e.claim1(e.b, w, job.Name)
			if scope == backend.UntilFinished {
				e.wantAffected("Free of one that runs", backend.OpFree, []int64{id})
				e.wantDuplicate("before it is free", job, id)
			}
			e.complete(e.b, j.Lease)
			e.wantDuplicate("before it is free", job, id)
			e.wantHaveKeys(job.Name, id)
			e.wantAffected("Free", backend.OpFree, []int64{id}, id)
			e.wantAffected("Free again", backend.OpFree, []int64{id})
			e.wantState(id, backend.Done)
			if info := e.get(id); !info.KeyUntil.IsZero() || info.UniqueKey != "k" {
				e.Errorf("after Free the job is %+v", info)
			}
			e.wantHaveKeys(job.Name)
			other := e.wantNew("after Free", job)
			e.wantHaveKeys(job.Name, other)
			if info := e.get(other); info.KeyUntil.IsZero() || info.KeyUntil.Before(info.CreatedAt.Add(50*e.unit-time.Millisecond)) {
				e.Errorf("the job that has the key is %+v", info)
			}
		}
		e.wantAffected("Free of a job without a key", backend.OpFree, e.push(e.b, "b", 1))
	},
}, {
	name: "operate/pages",
	rule: "an operation applies to a page of the matching jobs, newest first, and Next begins the next page",
	run: func(e *env) {
		operator := capability[backend.Operator](e, e.b)
		e.push(e.b, "b", 3)
		ids := e.push(e.b, "a", 10)
		e.push(e.b, "b", 3)
		req := backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{Names: []string{"a"}}, Limit: 4}
		var got []int64
		for i := range 20 {
			r, err := operator.Operate(e.ctx, req)
			if err != nil || len(r.Affected) > 4 {
				e.Fatalf("Operate = %+v, %v", r, err)
			}
			slices.Sort(r.Affected)
			got = append(slices.Clone(r.Affected), got...)
			if i == 0 && !slices.Equal(r.Affected, ids[6:]) {
				e.Errorf("the first page is %v, want the newest", r.Affected)
			}
			if req.Before = r.Next; r.Next == 0 {
				break
			}
		}
		if !slices.Equal(got, ids) {
			e.Errorf("the pages are %v, want %v", got, ids)
		}
		e.wantCounts("a cancelled=10 b pending=6")
	},
}, {
	name: "operate/filter",
	rule: "an operation applies only to jobs that match its filter; an empty list of IDs selects none",
	run: func(e *env) {
		w := e.worker()
		var failed []int64
		for i := range 3 {
			id := e.push(e.b, "a", 1)[0]
			e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndFailed, Error: fmt.Sprint("no ", i)})
			failed = append(failed, id)
		}
		keyed := e.pushJobs(e.b, serialJob("a", "k"), serialJob("b", "k"), newJob("b"))
		for what, c := range map[string]struct {
			f    backend.Filter
			want []int64
		}{
			"no IDs":        {backend.Filter{IDs: []int64{}}, nil},
			"no such IDs":   {backend.Filter{IDs: []int64{1 << 40, -1, 0}}, nil},
			"ID, not name":  {backend.Filter{IDs: failed[:1], Names: []string{"b"}}, nil},
			"ID, not state": {backend.Filter{IDs: failed[:1], States: []backend.State{backend.Pending}}, nil},
			"key, name":     {backend.Filter{Key: "k", Names: []string{"b"}}, keyed[1:2]},
			"error":         {backend.Filter{Error: "no 1"}, failed[1:2]},
		} {
			r := e.operate(backend.OpDelete, c.f)
			if !slices.Equal(r.Affected, c.want) {
				e.Errorf("Delete by %s affected %v, want %v", what, r.Affected, c.want)
			}
		}
		e.wantCounts("a pending=1 a failed=2 b pending=1")
		e.operate(backend.OpDelete, backend.Filter{States: []backend.State{backend.Failed}})
		e.wantCounts("a pending=1 b pending=1")
		e.operate(backend.OpDelete, backend.Filter{})
		e.wantCounts("")
	},
}, {
	name: "operate/first-matched",
	rule: "the jobs of a page are selected before the operation changes the first of them",
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"), serialJob("a", "k"))
		e.complete(e.b, e.claim1(e.b, e.worker(), "a").Lease)
		e.wantAffected("Retry", backend.OpRetry, ids[:1], ids[0])
		// The first is blocked by the second now, which a cancel ends.
		r := e.operate(backend.OpCancel, backend.Filter{States: []backend.State{backend.Pending}})
		if !slices.Equal(r.Affected, ids[1:2]) {
			e.Errorf("Cancel of what was pending affected %v, want %v", r.Affected, ids[1:2])
		}
		e.wantState(ids[0], backend.Pending)
	},
}, {
	name: "operate/invalid",
	rule: "an operation that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		operator := capability[backend.Operator](e, e.b)
		e.push(e.b, "a", 1)
		for _, req := range []backend.OperateRequest{
			{}, {Op: 9}, {Op: backend.OpDelete, Limit: -1}, {Op: backend.OpDelete, Limit: 1001}, {Op: backend.OpDelete, Before: -1},
			{Op: backend.OpDelete, Filter: backend.Filter{States: []backend.State{99}}}, {Op: backend.OpDelete, Filter: backend.Filter{IDs: make([]int64, 1001)}},
			{Op: backend.OpDelete, Filter: backend.Filter{Since: time.Unix(2, 0), Until: time.Unix(1, 0)}},
		} {
			if r, err := operator.Operate(e.ctx, req); !errors.Is(err, backend.ErrInvalid) || len(r.Affected) > 0 {
				e.Errorf("Operate(%+v) = %+v, %v; want ErrInvalid", req, r, err)
			}
		}
		e.wantCounts("a pending=1")
	},
}}
