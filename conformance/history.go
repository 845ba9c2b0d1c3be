package conformance

import (
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var historyCases = []testCase{{
	name: "history/age",
	rule: "finished jobs are deleted when their retention, counted from their end, is over; unfinished jobs never are",
	opts: Options{History: backend.History{Done: 7 * time.Minute, Failed: 30 * time.Minute}},
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("needs a clock that can be moved")
		}
		w := e.worker()
		ids := e.push(e.b, "a", 4)
		jobs := e.claim(e.b, w, 3, "a")
		e.store.Advance(time.Hour)
		e.complete(e.b, jobs[0].Lease)
		e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed, Error: "x"})
		e.store.Advance(6 * time.Minute)
		e.reap(e.b, backend.ReapRequest{})
		e.wantState(ids[0], backend.Done)
		e.store.Advance(2 * time.Minute)
		if r := e.reap(e.b, backend.ReapRequest{}); r.Pruned != 1 {
			e.Errorf("Reap returned %+v, want one pruned", r)
		}
		e.wantState(ids[0], 0)
		e.wantState(ids[1], backend.Failed)
		e.store.Advance(time.Hour)
		e.reap(e.b, backend.ReapRequest{})
		e.wantCounts("a pending=1 a running=1")
	},
}, {
	name: "history/kept-before",
	rule: "jobs past their retention are deleted, whatever kept or unfinished jobs precede them",
	opts: Options{History: backend.History{Done: 7 * time.Minute, Failed: 30 * time.Minute}},
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("needs a clock that can be moved")
		}
		w := e.worker()
		var failures []backend.Failure
		e.push(e.b, "a", 50)
		for _, j := range e.claim(e.b, w, 50, "a") {
			failures = append(failures, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed})
		}
		e.fail(e.b, failures...)
		e.pushJobs(e.b, slices.Repeat([]backend.NewJob{after(time.Hour, newJob("a"))}, 50)...)
		for _, name := range []string{"a", "b"} {
			e.push(e.b, name, 10)
			for _, j := range e.claim(e.b, w, 10, name) {
				e.complete(e.b, j.Lease)
			}
		}
		e.store.Advance(8 * time.Minute)
		for i := 0; ; i++ {
			r := e.reap(e.store.Open(e), backend.ReapRequest{Limit: 2}) // by a process that has just started
			if !r.More {
				break
			}
			if i == 100 {
				e.Fatalf("Reap does not end")
			}
		}
		e.wantCounts("a scheduled=50 a failed=50")
	},
}, {
	name: "history/rows",
	rule: "the newest History.Rows finished jobs of a name are kept",
	opts: Options{History: backend.History{Rows: 10}},
	run: func(e *env) {
		w := e.worker()
		for _, name := range []string{"a", "b"} {
			e.push(e.b, name, 25)
			for _, j := range e.claim(e.b, w, 25, name) {
				e.complete(e.b, j.Lease)
			}
		}
		live := e.push(e.b, "a", 5)
		oldest := live[0] - 5 // of b, when five of its ten have made room for others
		for i := 0; e.reap(e.b, backend.ReapRequest{Limit: 4}).More; i++ {
			if i == 100 {
				e.Fatalf("Reap does not end")
			}
		}
		e.wantCounts("a pending=5 a done=10 b done=10")
		// Again, when the search for old jobs is somewhere in the middle.
		e.push(e.b, "b", 5)
		for _, j := range e.claim(e.b, w, 5, "b") {
			e.complete(e.b, j.Lease)
		}
		for i := 0; e.reap(e.b, backend.ReapRequest{Limit: 1}).More; i++ {
			if i == 100 {
				e.Fatalf("Reap does not end")
			}
		}
		live = e.push(e.b, "a", 1)
		page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{"b"}}})
		if err != nil || len(page.Jobs) != 10 || page.Jobs[9].ID >= live[0] || page.Jobs[0].ID != live[0]-1 ||
			page.Jobs[4].ID != live[0]-5 || page.Jobs[9].ID != oldest {
			e.Errorf("List = %d jobs, %v; want the newest ten", len(page.Jobs), err)
		}
	},
}, {
	name: "history/rows-oldest",
	rule: "of too many finished jobs, none is deleted while one is kept that was both pushed and finished before it, whatever the states",
	opts: Options{History: backend.History{Rows: 2}},
	run: func(e *env) {
		e.push(e.b, "a", 3)
		jobs := e.claim(e.b, e.worker(), 3, "a")
		e.complete(e.b, jobs[2].Lease)
		e.advance(e.unit / 10)
		e.complete(e.b, jobs[0].Lease)
		e.advance(e.unit / 10)
		e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed})
		for range 10 {
			if !e.reap(e.b, backend.ReapRequest{}).More {
				break
			}
		}
		e.wantState(jobs[1].ID, backend.Failed)
		e.wantCounts("a done=1 a failed=1")
	},
}}
