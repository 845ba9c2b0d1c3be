package conformance

import (
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

var replaceCases = []testCase{{
	name: "unique/replace",
	rule: "Replace sets the payload, metadata, priority, delay and expiry of the waiting job that has the key",
	run: func(e *env) {
		replace := func(payload string, priority int16, delay, expires int) backend.NewJob {
			job := uniqueJob("a", backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace})
			job.Payload, job.Metadata, job.Priority = []byte(payload), []byte("of "+payload), priority
			return after(unitsOf(e, delay), expiring(unitsOf(e, expires), job))
		}
		id := e.wantNew("the first", replace("1", 0, 0, 0))
		before := e.get(id)
		for i, c := range []struct {
			priority       int16
			delay, expires int
			state          backend.State
		}{{1, 10, 0, backend.Scheduled}, {2, 30, 50, backend.Scheduled}, {-3, 0, 40, backend.Pending}, {5, 0, 0, backend.Pending}, {4, 1, 0, backend.Scheduled}} {
			job := replace(fmt.Sprint(i+2), c.priority, c.delay, c.expires)
			e.wantDuplicate("Replace", job, id)
			info := e.get(id)
			if info.State != c.state || info.Priority != c.priority || string(info.Payload) != string(job.Payload) || string(info.Metadata) != string(job.Metadata) ||
				info.RunAt.Before(before.CreatedAt.Add(job.Delay)) || info.ExpiresAt.IsZero() != (c.expires == 0) || !info.CreatedAt.Equal(before.CreatedAt) {
				e.Errorf("replaced by %+v the job is %+v", job, info)
			}
		}
		e.wantCounts("a scheduled=1")
		w := e.worker()
		e.wantIDs("Claim before the time", e.claim(e.b, w, 10, "a"))
		first := newJob("a")
		first.Priority = 4 // and an earlier time
		second := e.pushJobs(e.b, first)[0]
		e.advance(e.unit)
		jobs := e.claim(e.b, w, 10, "a")
		e.wantIDs("Claim at the time", jobs, second, id)
		if string(jobs[1].Payload) != "6" || string(jobs[1].Metadata) != "of 6" {
			e.Errorf("Claim returned %+v", jobs[1])
		}
		e.wantNew("Replace of a job that runs, whose key is free", replace("7", 0, 0, 0))
		e.advance(60 * e.unit)
		e.wantCounts("a pending=1 a running=2")
	},
}, {
	name: "unique/replace-batch",
	rule: "in one batch the second task with a key replaces the first",
	run: func(e *env) {
		job := uniqueJob("a", backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace})
		last := job
		last.Payload = []byte("last")
		pushed, err := e.b.Push(e.ctx, []backend.NewJob{after(e.unit, job), last})
		if err != nil || len(pushed) != 2 || pushed[0].Duplicate || pushed[1] != (backend.Pushed{ID: pushed[0].ID, Duplicate: true}) {
			e.Fatalf("Push = %v, %v", pushed, err)
		}
		if j := e.claim1(e.b, e.worker(), "a"); j.ID != pushed[0].ID || string(j.Payload) != "last" {
			e.Errorf("Claim returned %+v", j)
		}
	},
}, {
	name: "unique/replace-started",
	rule: "Replace is Reject if the job that has the key does not wait",
	run: func(e *env) {
		id := e.wantNew("the first", uniqueJob("a", backend.Unique{Key: "k", For: 50 * e.unit}))
		replace := uniqueJob("a", backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace})
		e.wantDuplicate("while it waits", replace, id)
		j := e.claim1(e.b, e.worker(), "a")
		e.wantRejected([]backend.NewJob{newJob("a"), replace}, 1, id)
		e.complete(e.b, j.Lease)
		e.wantRejected([]backend.NewJob{newJob("a"), replace}, 1, id)
		e.wantCounts("a done=1")
	},
}, {
	name: "unique/replace-blocked",
	rule: "a blocked job that is replaced stays blocked, and its delay holds when it is unblocked",
	run: func(e *env) {
		job := serialJob("a", "s")
		e.pushJobs(e.b, job)
		job.Unique = backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace}
		id := e.wantNew("the blocked one", job)
		e.wantState(id, backend.Blocked)
		job.Payload = []byte("new")
		e.wantDuplicate("Replace", after(10*e.unit, job), id)
		e.wantState(id, backend.Blocked)
		w := e.worker()
		jobs := e.claim(e.b, w, 10, "a")
		e.complete(e.b, jobs[0].Lease)
		e.wantState(id, backend.Scheduled)
		e.advance(10 * e.unit)
		if j := e.claim1(e.b, w, "a"); j.ID != id || string(j.Payload) != "new" {
			e.Errorf("Claim returned %+v", j)
		}
	},
}, {
	name: "unique/replace-keeps",
	rule: "Replace keeps the job's MaxAttempts, failures and errors",
	run: func(e *env) {
		job := uniqueJob("a", backend.Unique{Key: "k", Scope: backend.UntilStarted})
		job.MaxAttempts = 9
		id := e.push1(e.b, job).ID
		e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, e.worker(), "a").Lease, Ending: backend.EndRetry, Delay: 50 * e.unit, Error: "no"})
		before := e.get(id)
		job.Unique.Conflict, job.MaxAttempts, job.Payload = backend.Replace, 4, []byte("other")
		e.wantDuplicate("Replace", job, id)
		got := e.get(id)
		if got.MaxAttempts != 9 || got.Failures != 1 || !slices.Equal(got.Errors, before.Errors) || string(got.Payload) != "other" {
			e.Errorf("the replaced job is %+v; it was %+v", got, before)
		}
	},
}}
