package conformance

import (
	"errors"
	"fmt"
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
	name: "reap/bounded-due",
	rule: "Reap sets More as long as more jobs are due, with and without fair keys",
	run: func(e *env) {
		jobs := make([]backend.NewJob, 40)
		for i := range jobs {
			jobs[i] = newJob("a")
			if i%4 == 0 {
				jobs[i].Fair = "A"
			}
			jobs[i].Delay = e.unit
		}
		e.pushJobs(e.b, jobs...)
		e.advance(2 * e.unit)
		for calls := 1; e.reap(e.b, backend.ReapRequest{Limit: 7}).More; calls++ {
			if calls > len(jobs) {
				e.Fatalf("Reap does not end")
			}
		}
		e.wantCounts("a pending=40")
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
}, {
	name: "reap/limit-rescues",
	rule: "once its limit is reached, Reap rescues from no further worker and sets More, and the next call continues",
	run: func(e *env) {
		const workers, each, limit = 5, 2, 3
		e.push(e.b, "a", workers*each)
		for range workers {
			e.claim(e.b, e.worker(), each, "a")
		}
		e.advance(e.unit + e.unit/10)
		rescued := 0
		for calls := 1; ; calls++ {
			r := e.reap(e.b, backend.ReapRequest{Expired: true, Limit: limit})
			if r.Rescued >= limit+each || rescued+r.Rescued < workers*each && !r.More {
				e.Fatalf("Reap with limit %d of workers with %d jobs each = %+v after %d rescued jobs", limit, each, r, rescued)
			}
			if rescued += r.Rescued; !r.More || calls > workers {
				break
			}
		}
		if rescued != workers*each {
			e.Errorf("%d jobs were rescued, want %d", rescued, workers*each)
		}
	},
}}
