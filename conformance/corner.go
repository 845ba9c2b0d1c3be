package conformance

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// cornerCases are what stores have got wrong where rules meet.
var cornerCases = []testCase{{
	name: "corner/expired-in-line",
	rule: "counts are right when several jobs of one serial key expire at once",
	run: func(e *env) {
		var jobs []backend.NewJob
		for range 4 {
			j := newJob("a")
			j.Serial, j.Expires = "s", e.unit
			jobs = append(jobs, j)
		}
		e.pushJobs(e.b, jobs...)
		e.advance(2 * e.unit)
		if r := e.reap(e.b, backend.ReapRequest{}); r.Expired != 4 {
			e.Errorf("Reap says that %d expired, want 4", r.Expired)
		}
		e.wantCounts("a cancelled=4")
	},
}, {
	name: "corner/limited-order",
	rule: "the order of claims holds over many limited names",
	run: func(e *env) {
		var names []string
		for i := range 10 {
			name := fmt.Sprint("n", i)
			names = append(names, name)
			e.set(e.b, backend.Settings{Name: name, MaxRunning: 100})
		}
		push := func(name string, priority int16) []int64 {
			var jobs []backend.NewJob
			for range 20 {
				j := newJob(name)
				j.Priority = priority
				jobs = append(jobs, j)
			}
			return e.pushJobs(e.b, jobs...)
		}
		first, second := push("n7", 10), push("n2", 5)
		push("n4", 1)
		w := e.worker()
		e.wantIDs("Claim of 20", e.claim(e.b, w, 20, names...), first...)
		req := request(w, 20, names...)
		req.Prefetch = 5
		e.wantIDs("Claim of 20, 5 of them ahead", e.claimRequest(e.b, req), second[:15]...)
	},
}, {
	name: "corner/prune-more",
	rule: "Reap sets More as long as there is more history to delete",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("the store's clock cannot be moved")
		}
		w := e.worker()
		e.push(e.b, "a", 30)
		var leases []backend.Lease
		for _, j := range e.claim(e.b, w, 30, "a") {
			leases = append(leases, j.Lease)
		}
		e.complete(e.b, leases...)
		e.advance(8 * 24 * time.Hour)
		pruned := 0
		for range 10 {
			r := e.reap(e.b, backend.ReapRequest{Limit: 10})
			if pruned += r.Pruned; !r.More {
				break
			}
		}
		if pruned != 30 {
			e.Errorf("%d jobs were deleted before Reap said that there is no more, want 30", pruned)
		}
	},
}, {
	name: "corner/prune-oldest",
	rule: "of a name with too many finished jobs the oldest are deleted, whatever was deleted of other names before",
	opts: Options{History: backend.History{Rows: 5}},
	run: func(e *env) {
		w := e.worker()
		run := func(name string, n int) []int64 {
			ids := e.push(e.b, name, n)
			var leases []backend.Lease
			for _, j := range e.claim(e.b, w, n, name) {
				leases = append(leases, j.Lease)
			}
			e.complete(e.b, leases...)
			return ids
		}
		reap := func() {
			for range 50 {
				if !e.reap(e.b, backend.ReapRequest{Limit: 5}).More {
					break
				}
			}
		}
		old := run("y", 5)
		run("x", 40)
		e.reap(e.b, backend.ReapRequest{Limit: 5})
		young := run("y", 5)
		reap()
		for _, id := range old {
			e.wantState(id, 0)
		}
		for _, id := range young {
			e.wantState(id, backend.Done)
		}
		e.wantCounts("x done=5 y done=5")
	},
}, {
	name: "corner/replaced-progress",
	rule: "a replaced job keeps its progress, which is deleted together with the job",
	run: func(e *env) {
		store := capability[backend.Heartbeater](e, e.b)
		capability[backend.Operator](e, e.b)
		j := newJob("a")
		j.Unique = backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace}
		id := e.pushJobs(e.b, j)[0]
		lease := e.claim1(e.b, e.worker(), "a").Lease
		if err := store.StoreProgress(e.ctx, []backend.Progress{{Lease: lease, Done: 3, Total: 9}}); err != nil {
			e.Fatalf("Progress: %v", err)
		}
		e.fail(e.b, backend.Failure{Lease: lease, Ending: backend.EndRetry, Delay: e.unit})
		e.pushJobs(e.b, j)
		if info := e.get(id); info.Done != 3 || info.Total != 9 {
			e.Errorf("the progress of the replaced job is %d of %d, want 3 of 9", info.Done, info.Total)
		}
		page, err := e.reader().List(e.ctx, backend.ListRequest{})
		if err != nil || len(page.Jobs) != 1 || page.Jobs[0].Done != 3 || page.Jobs[0].Total != 9 {
			e.Errorf("List = %+v, %v, want the progress too", page, err)
		}
		e.operate(backend.OpDelete, backend.Filter{IDs: []int64{id}})
		e.wantState(id, 0)
	},
}, {
	name: "corner/due-behind-others",
	rule: "Wait returns for a due job, however many other jobs are due",
	run: func(e *env) {
		waiter := capability[backend.Waiter](e, e.b)
		var jobs []backend.NewJob
		for range 2500 {
			j := newJob("others")
			j.Delay = e.unit / 2
			jobs = append(jobs, j)
		}
		mine := newJob("mine")
		mine.Delay = e.unit
		e.pushJobs(e.b, append(jobs, mine)...)
		e.advance(2 * e.unit)
		w := e.worker()
		for range 10 {
			if len(e.claim(e.b, w, 1, "mine")) == 1 {
				return
			}
			if err := waiter.Wait(e.ctx, request(w, 1, "mine")); err != nil {
				e.Fatalf("Wait: %v", err)
			}
		}
		e.Errorf("ten claims did not find a job that is due")
	},
}, {
	name: "corner/superseded-spends",
	rule: "a retry that is superseded has spent its attempt",
	run: func(e *env) {
		j := newJob("a")
		j.Unique = backend.Unique{Key: "k", Scope: backend.UntilStarted}
		id := e.pushJobs(e.b, j)[0]
		lease := e.claim1(e.b, e.worker(), "a").Lease
		e.pushJobs(e.b, j)
		e.fail(e.b, backend.Failure{Lease: lease, Ending: backend.EndRetry, Error: "x"})
		info := e.get(id)
		if info.State != backend.Cancelled || info.Failures != 1 || len(info.Errors) != 2 || info.Errors[0].Attempt != 1 ||
			info.Errors[1].Attempt != 2 || !strings.HasPrefix(info.Errors[1].Error, backend.SupersededError) {
			e.Errorf("the superseded job is %+v", info)
		}
	},
}, {
	name: "corner/cancelled-repeat",
	rule: "a worker can repeat a settlement after an operator has cancelled the job",
	run: func(e *env) {
		capability[backend.Operator](e, e.b)
		id := e.push(e.b, "a", 1)[0]
		f := backend.Failure{Lease: e.claim1(e.b, e.worker(), "a").Lease, Ending: backend.EndRetry, Delay: e.unit}
		e.wantLost("Fail", e.fail(e.b, f))
		e.operate(backend.OpCancel, backend.Filter{IDs: []int64{id}})
		before := e.get(id)
		e.wantLost("Fail again", e.fail(e.b, f))
		if after := e.get(id); !reflect.DeepEqual(before, after) {
			e.Errorf("the job was %+v and is %+v", before, after)
		}
	},
}, {
	name: "corner/rescued-cancelled",
	rule: "jobs that a rescue cancels count as rescued",
	run: func(e *env) {
		capability[backend.Operator](e, e.b)
		j := newJob("a")
		j.Unique = backend.Unique{Key: "k", Scope: backend.UntilStarted}
		e.pushJobs(e.b, j, newJob("a"))
		jobs := e.claim(e.b, e.worker(), 2, "a")
		e.pushJobs(e.b, j)
		e.operate(backend.OpCancel, backend.Filter{IDs: []int64{jobs[1].ID}})
		if r := e.crash(e.b); r.Rescued != 2 || r.Failed != 0 {
			e.Errorf("Reap rescued %d, want 2: the superseded and the cancelled one", r.Rescued)
		}
		e.wantCounts("a pending=1 a cancelled=2")
	},
}, {
	name: "corner/list-beyond",
	rule: "a list before an ID that is not assigned yet begins at the newest job",
	run: func(e *env) {
		ids := e.push(e.b, "a", 2)
		page, err := e.reader().List(e.ctx, backend.ListRequest{Before: 1 << 60})
		if err != nil || len(page.Jobs) != 2 || page.Jobs[0].ID != ids[1] || page.Next != 0 {
			e.Errorf("List = %d jobs, next %d, %v", len(page.Jobs), page.Next, err)
		}
	},
}}
