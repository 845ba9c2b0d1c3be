package conformance

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var reapCases = []testCase{{
	name: "reap/dead",
	rule: "the jobs of a worker that did not renew in time become pending, as suspects, without an attempt spent",
	run: func(e *env) {
		ids := e.push(e.b, "a", 3)
		w := e.worker()
		e.claim(e.b, w, 3, "a")
		result := e.crash(e.store.Open(e))
		if result.Rescued != 3 || result.Failed != 0 || len(result.Workers) != 1 || result.Workers[0] != w.ID {
			e.Errorf("Reap returned %+v", result)
		}
		for _, id := range ids {
			if info := e.get(id); info.State != backend.Pending || !info.Suspect || info.Failures != 0 || info.Crashes != 0 || info.Worker != 0 {
				e.Errorf("the rescued job is %+v", info)
			}
		}
		next := e.worker()
		for _, id := range ids {
			j := e.claim1(e.b, next, "a")
			if j.ID != id || j.Attempt != 1 || !j.Suspect {
				e.Errorf("Claim returned %+v, want job %d in attempt 1", j, id)
			}
			e.complete(e.b, j.Lease)
		}
	},
}, {
	name: "reap/live",
	rule: "the jobs of a worker that renews are left alone",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		e.claim1(e.b, w, "a")
		for range 5 {
			e.advance(e.unit * 2 / 3)
			e.claim(e.b, w, 0)
			if r := e.reap(e.b, backend.ReapRequest{Expired: true}); r.Rescued > 0 || len(r.Workers) > 0 {
				e.Fatalf("Reap returned %+v", r)
			}
		}
		e.wantState(id, backend.Running)
	},
}, {
	name: "reap/not-asked",
	rule: "without Expired, Reap finds no worker dead by the clock",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		e.claim1(e.b, e.worker(), "a")
		e.advance(100 * e.unit)
		if r := e.reap(e.b, backend.ReapRequest{}); r.Rescued > 0 || len(r.Workers) > 0 {
			e.Errorf("Reap returned %+v", r)
		}
		e.wantState(id, backend.Running)
	},
}, {
	name: "reap/finished",
	rule: "a job that was settled before its worker died stays settled",
	run: func(e *env) {
		ids := e.push(e.b, "a", 4)
		jobs := e.claim(e.b, e.worker(), 4, "a")
		e.complete(e.b, jobs[0].Lease)
		e.fail(e.b,
			backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed},
			backend.Failure{Lease: jobs[2].Lease, Ending: backend.EndRetry, Delay: 100 * e.unit})
		if r := e.crash(e.b); r.Rescued != 1 {
			e.Errorf("Reap returned %+v, want one rescued", r)
		}
		e.wantState(ids[0], backend.Done)
		e.wantState(ids[1], backend.Failed)
		e.wantState(ids[2], backend.Scheduled)
		e.wantState(ids[3], backend.Pending)
		e.wantIDs("Claim", e.claimAny(e.b, e.worker(), 10, "a"), ids[3])
		e.wantIDs("Claim", e.claimAny(e.b, e.worker(), 10, "a"))
	},
}, {
	name: "reap/old-worker",
	rule: "a worker that Reap found dead cannot continue under its old row",
	run: func(e *env) {
		e.push(e.b, "a", 2)
		w := e.worker()
		e.claim(e.b, w, 1, "a")
		e.crash(e.b)
		req := request(w, 10, "a")
		req.Register = false
		if jobs, err := e.b.Claim(e.ctx, req); !errors.Is(err, backend.ErrWorkerGone) {
			e.Errorf("Claim of a reaped worker = %d jobs, %v; want ErrWorkerGone", len(jobs), err)
		}
		if heart, ok := e.b.(backend.Heartbeater); ok {
			if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w}); !errors.Is(err, backend.ErrWorkerGone) {
				e.Errorf("Heartbeat of a reaped worker = %v, want ErrWorkerGone", err)
			}
		}
	},
}, {
	name: "reap/suspect-alone",
	rule: "a claim returns a suspect only if requested, alone, and in its place in the order",
	run: func(e *env) {
		suspects := e.push(e.b, "a", 3)
		e.claim(e.b, e.worker(), 3, "a")
		e.crash(e.b)
		fresh := e.push(e.b, "b", 2)
		urgent := newJob("b")
		urgent.Priority = 5
		first := e.pushJobs(e.b, urgent)[0]
		w := e.worker()
		e.wantIDs("Claim of suspects", e.claimAny(e.b, w, 1, "a", "b"), first)
		e.wantIDs("Claim of suspects", e.claimAny(e.b, w, 10, "a", "b"), suspects[0])
		e.wantIDs("Claim without suspects", e.claim(e.b, w, 10, "a", "b"), fresh...)
		e.wantIDs("Claim without suspects", e.claim(e.b, w, 10, "a", "b"))
		e.wantIDs("Claim of suspects", e.claimAny(e.b, w, 10, "b"))
		e.wantIDs("Claim of suspects", e.claimAny(e.b, w, 10, "b", "a"), suspects[1])
		e.wantIDs("Claim of suspects", e.claimAny(e.b, w, 10, "a"), suspects[2])
	},
}, {
	name: "reap/suspect-behind-expired",
	rule: "a suspect is returned alone and in its place if the jobs before it have expired",
	run: func(e *env) {
		suspects := e.push(e.b, "a", 2)
		e.claim(e.b, e.worker(), 2, "a")
		e.crash(e.b)
		w := e.worker()
		first := e.claimAny(e.b, w, 1, "a")[0]
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: first.Lease, Ending: backend.EndRelease, Expires: 5 * e.unit}))
		urgent := expiring(5*e.unit, newJob("a"))
		urgent.Priority = 5
		ids := e.pushJobs(e.b, urgent, newJob("a"))
		e.advance(6 * e.unit)
		e.wantIDs("Claim of suspects", e.claimAny(e.b, w, 10, "a"), suspects[1])
		e.wantIDs("Claim of suspects", e.claimAny(e.b, w, 10, "a"), ids[1])
		e.wantCancelled("the expired", ids[0], backend.ExpiredError)
	},
}, {
	name: "reap/crashes",
	rule: "a suspect that crashed its worker DefaultMaxCrashes times as its only job is failed with CrashError",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		for crash := 0; crash <= backend.DefaultMaxCrashes; crash++ {
			if j := e.claim1(e.b, e.worker(), "a"); j.Suspect != (crash > 0) || j.Attempt != 1 {
				e.Errorf("claim %d returned %+v", crash, j)
			}
			r := e.crash(e.b)
			if failed := crash == backend.DefaultMaxCrashes; (r.Failed == 1) != failed {
				e.Errorf("Reap after crash %d returned %+v", crash, r)
			}
		}
		info := e.get(id)
		if info.State != backend.Failed || info.Crashes != backend.DefaultMaxCrashes || len(info.Errors) != 1 || info.FinishedAt.IsZero() {
			e.Errorf("the job is %+v", info)
		}
		if n := len(info.Errors); n == 0 || info.Errors[n-1].Error != backend.CrashError {
			e.Errorf("the errors are %+v, want CrashError", info.Errors)
		}
		e.wantIDs("Claim", e.claimAny(e.b, e.worker(), 10, "a"))
		e.wantCounts("a failed=1")
	},
}, {
	name: "reap/settling-clears",
	rule: "a settled job is no suspect any more and has no crashes; a released suspect remains one",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		j := e.claim1(e.b, e.worker(), "a")
		e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRelease})
		if info := e.get(id); !info.Suspect || info.Crashes != 1 {
			e.Errorf("the released suspect is %+v", info)
		}
		j = e.claim1(e.b, e.worker(), "a")
		e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry})
		if info := e.get(id); info.Suspect || info.Crashes != 0 {
			e.Errorf("the settled suspect is %+v", info)
		}
	},
}, {
	name: "reap/not-alone",
	rule: "a crash counts only against a suspect that was the worker's only job",
	run: func(e *env) {
		ids := e.push(e.b, "a", 2)
		e.claim(e.b, e.worker(), 2, "a")
		e.crash(e.b)
		for range 2 * backend.DefaultMaxCrashes {
			w := e.worker()
			e.claim1(e.b, w, "a")
			e.claim1(e.b, w, "a")
			if r := e.crash(e.b); r.Rescued != 2 {
				e.Fatalf("Reap returned %+v", r)
			}
		}
		for _, id := range ids {
			if info := e.get(id); info.State != backend.Pending || info.Crashes != 0 {
				e.Errorf("the job is %+v", info)
			}
		}
	},
}, {
	name: "reap/with-others",
	rule: "a crash counts against no suspect if its worker held other jobs, and does if the other jobs had settled",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		others := e.push(e.b, "b", 4)
		w := e.worker()
		e.claim1(e.b, w, "a")
		for _, j := range e.claim(e.b, w, 1, "b") {
			e.complete(e.b, j.Lease)
		}
		e.crash(e.b)
		if info := e.get(id); info.Crashes != 1 || !info.Suspect {
			e.Errorf("the suspect that was alone is %+v, want one crash", info)
		}
		others = others[1:]
		w = e.worker()
		e.claim1(e.b, w, "a")
		e.wantIDs("Claim of the others", e.claim(e.b, w, 3, "b"), others...)
		e.crash(e.b)
		if info := e.get(id); info.Crashes != 1 || !info.Suspect {
			e.Errorf("the suspect that ran with others is %+v, want no further crash", info)
		}
		for _, id := range others {
			if info := e.get(id); info.Crashes != 0 || !info.Suspect {
				e.Errorf("a job claimed with the suspect is %+v, want a suspect without a crash", info)
			}
		}
	},
}, {
	name: "reap/claiming-renews",
	rule: "a claim renews the worker's row, whatever its limit",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		e.claim1(e.b, w, "a")
		for range 3 {
			e.advance(e.unit * 2 / 3)
			e.claim(e.b, w, 5, "a")
		}
		e.reap(e.b, backend.ReapRequest{Expired: true})
		e.wantState(id, backend.Running)
	},
}, {
	name: "reap/steady",
	rule: "a worker is judged only by a caller that was stable for a third of that worker's lease",
	run: func(e *env) {
		e.push(e.b, "a", 2)
		long, short := e.worker(), e.worker()
		long.Lease = 30 * e.unit
		e.claim1(e.b, long, "a")
		e.claim1(e.b, short, "a")
		e.advance(31 * e.unit)
		r := e.reap(e.b, backend.ReapRequest{Expired: true, StableFor: e.unit})
		if len(r.Workers) != 1 || r.Workers[0] != short.ID {
			e.Errorf("Reap of one steady for %v found %v dead, want only %d", e.unit, r.Workers, short.ID)
		}
		r = e.reap(e.b, backend.ReapRequest{Expired: true, StableFor: 10 * e.unit})
		if len(r.Workers) != 1 || r.Workers[0] != long.ID {
			e.Errorf("Reap of one steady for %v found %v dead, want %d", 10*e.unit, r.Workers, long.ID)
		}
	},
}, {
	name: "reap/jumped",
	rule: "no worker is judged by a clock that has jumped since the caller's last heartbeat",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		e.push(e.b, "a", 1)
		e.claim1(e.b, e.worker(), "a")
		beat := func(w backend.Worker) time.Time {
			e.claim(e.b, w, 0)
			r, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w})
			if err != nil {
				e.Fatalf("Heartbeat: %v", err)
			}
			return r.Now
		}
		me := e.worker()
		heard := beat(me)
		e.advance(2 * e.unit)
		if r := e.reap(e.b, backend.ReapRequest{Expired: true, StoreTime: heard}); len(r.Workers) > 0 {
			e.Errorf("Reap after a jump found %v dead", r.Workers)
		}
		heard = beat(me)
		if r := e.reap(e.b, backend.ReapRequest{Expired: true, StoreTime: heard}); len(r.Workers) != 1 {
			e.Errorf("Reap without a jump found %v dead, want one", r.Workers)
		}
	},
}, {
	name: "reap/known-dead",
	rule: "the jobs of workers in Dead are rescued at once, whatever the leases, and no others",
	run: func(e *env) {
		e.push(e.b, "a", 2)
		ended, lives := e.worker(), e.worker()
		j := e.claim1(e.b, ended, "a")
		other := e.claim1(e.b, lives, "a")
		r := e.reap(e.b, backend.ReapRequest{Dead: []int64{ended.ID, 1 << 50}})
		if len(r.Workers) != 1 || r.Workers[0] != ended.ID || r.Rescued != 1 {
			e.Errorf("Reap = %+v, want worker %d and its job", r, ended.ID)
		}
		e.wantLost("Complete of the dead worker's", e.complete(e.b, j.Lease), j.Lease)
		e.wantLost("Complete of the other's", e.complete(e.b, other.Lease))
		if again := e.claim1(e.b, lives, "a"); again.ID != j.ID || !again.Suspect {
			e.Errorf("the rescued job came back as %+v", again)
		}
	},
}, {
	name: "reap/invalid",
	rule: "a reap that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		for _, req := range []backend.ReapRequest{{Limit: -1}, {StableFor: -1}} {
			if _, err := e.b.Reap(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Reap(%+v) = %v, want ErrInvalid", req, err)
			}
		}
	},
}, {
	name: "reap/poison",
	rule: "one poison job claimed together with 200 good ones ends with 200 done and one failed",
	run: func(e *env) {
		ids := e.push(e.b, "a", 201)
		poison := ids[77]
		crashes := 0
		claim := func(w backend.Worker) []backend.Job {
			if jobs := e.claim(e.b, w, 256, "a"); len(jobs) > 0 {
				return jobs
			}
			return e.claimAny(e.b, w, 256, "a")
		}
		for w := e.worker(); ; {
			jobs := claim(w)
			if len(jobs) == 0 {
				break
			}
			for _, j := range jobs {
				if j.ID == poison { // takes the process and what it held with it
					crashes++
					e.crash(e.b)
					w = e.worker()
					break
				}
				e.complete(e.b, j.Lease)
			}
		}
		e.wantCounts("a done=200 a failed=1")
		e.wantState(poison, backend.Failed)
		if want := 1 + backend.DefaultMaxCrashes; crashes != want {
			e.Errorf("the poison job crashed %d workers, want %d", crashes, want)
		}
	},
}, {
	name: "reap/many-reapers",
	rule: "if any number of processes reap at once, each job is rescued once",
	run: func(e *env) {
		e.push(e.b, "a", 200)
		for range 4 {
			e.claim(e.b, e.worker(), 50, "a")
		}
		e.advance(2 * e.unit)
		var mu sync.Mutex
		rescued := 0
		var wg sync.WaitGroup
		for range 4 {
			b := e.store.Open(e)
			wg.Go(func() {
				defer e.recoverShort()
				r, err := b.Reap(e.ctx, backend.ReapRequest{Expired: true})
				if err != nil {
					e.Errorf("Reap: %v", err)
				}
				mu.Lock()
				rescued += r.Rescued
				mu.Unlock()
			})
		}
		wg.Wait()
		if rescued != 200 {
			e.Errorf("%d jobs were rescued, want 200", rescued)
		}
		e.wantCounts("a pending=200")
	},
}, {
	name: "reap/bounded",
	rule: "a bound on Reap hides no job: More reports work left, and a repeated call does it",
	run: func(e *env) {
		e.push(e.b, "a", 30)
		for range 10 {
			e.claim(e.b, e.worker(), 3, "a")
		}
		e.advance(2 * e.unit)
		total := 0
		for i := 0; ; i++ {
			r := e.reap(e.b, backend.ReapRequest{Expired: true, Limit: 7})
			total += r.Rescued
			if !r.More {
				break
			}
			if i == 30 {
				e.Fatalf("Reap does not end")
			}
		}
		if total != 30 {
			e.Errorf("%d jobs were rescued, want 30", total)
		}
	},
}, {
	name: "reap/due",
	rule: "Reap makes due jobs pending and no others",
	run: func(e *env) {
		soon, late := newJob("a"), newJob("a")
		soon.Delay, late.Delay = e.unit, 20*e.unit
		ids := e.pushJobs(e.b, soon, late, soon)
		e.advance(2 * e.unit)
		if r := e.reap(e.b, backend.ReapRequest{}); r.Due != 2 {
			e.Errorf("Reap returned %+v, want 2 due", r)
		}
		e.wantState(ids[0], backend.Pending)
		e.wantState(ids[1], backend.Scheduled)
		e.wantCounts("a scheduled=1 a pending=2")
	},
}, {
	name: "reap/due-order",
	rule: "of the jobs that are due, Reap makes the longest due pending first",
	run: func(e *env) {
		ids := e.pushJobs(e.b, after(3*e.unit, newJob("a")), after(e.unit, newJob("a")), after(2*e.unit, newJob("a")))
		e.advance(4 * e.unit)
		for _, id := range []int64{ids[1], ids[2], ids[0]} {
			e.wantState(id, backend.Scheduled)
			if r := e.reap(e.b, backend.ReapRequest{Limit: 1}); r.Due != 1 {
				e.Errorf("Reap returned %+v, want 1 due", r)
			}
			e.wantState(id, backend.Pending)
		}
	},
}, {
	name: "reap/clock-back",
	rule: "a row renewed a lease or more in the future counts as expired",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("the store's clock cannot be turned back")
		}
		e.push(e.b, "a", 1)
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		e.store.Advance(-time.Hour)
		e.wantLost("Complete after the clock went back", e.complete(e.b, j.Lease))
		e.store.Advance(time.Hour)

		id := e.push(e.b, "a", 1)[0]
		e.claim1(e.b, w, "a")
		e.store.Advance(-time.Hour)
		e.claim(e.b, w, 0) // it lives, and renews
		e.reap(e.b, backend.ReapRequest{Expired: true})
		e.wantState(id, backend.Running)

		e.store.Advance(-time.Hour) // and now it is gone
		e.reap(e.b, backend.ReapRequest{Expired: true})
		e.wantState(id, backend.Pending)
	},
}, {
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
		page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Name: "b"}})
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
}, {
	name: "counts/consistent",
	rule: "counts agree with the jobs after any sequence of changes",
	run: func(e *env) {
		want := map[string]int{}
		w := e.worker()
		var held []backend.Job
		for i := range 60 {
			name := fmt.Sprint("n", i%3)
			j := newJob(name)
			if i%5 == 0 {
				j.Delay = time.Duration(i) * e.unit
			}
			e.pushJobs(e.b, j)
			held = append(held, e.claim(e.b, w, 1, "n0", "n1", "n2")...)
			if len(held) > 4 {
				l := held[0].Lease
				held = held[1:]
				switch i % 4 {
				case 0:
					e.complete(e.b, l)
				default:
					e.fail(e.b, backend.Failure{Lease: l, Ending: endings[i%5], Delay: e.unit})
				}
			}
			if i%20 == 19 {
				e.crash(e.b)
				held = nil
			}
		}
		for before := int64(0); ; {
			page, err := e.reader().List(e.ctx, backend.ListRequest{Before: before, Limit: 7})
			if err != nil {
				e.Fatalf("List: %v", err)
			}
			for _, j := range page.Jobs {
				want[fmt.Sprint(j.Name, j.State)]++
			}
			if before = page.Next; before == 0 {
				break
			}
		}
		counts, err := e.reader().Count(e.ctx)
		if err != nil {
			e.Fatalf("Count: %v", err)
		}
		for _, c := range counts {
			if key := fmt.Sprint(c.Name, c.State); want[key] != int(c.Jobs) {
				e.Errorf("%s: counted %d, listed %d", key, c.Jobs, want[key])
			}
			delete(want, fmt.Sprint(c.Name, c.State))
		}
		if len(want) > 0 {
			e.Errorf("not counted: %v", want)
		}
	},
}}
