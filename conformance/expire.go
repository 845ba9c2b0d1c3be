package conformance

import (
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// unitsOf returns n units.
func unitsOf(e *env, n int) time.Duration { return time.Duration(n) * e.unit }

// expiring returns job with an expiry.
func expiring(expires time.Duration, job backend.NewJob) backend.NewJob {
	job.Expires = expires
	return job
}

var expireCases = []testCase{{
	name: "expiry/claim",
	rule: "a job that was not started in time is cancelled and not claimed",
	run: func(e *env) {
		ids := e.pushJobs(e.b, expiring(5*e.unit, newJob("a")), newJob("a"), expiring(5*e.unit, after(2*e.unit, newJob("a"))), expiring(50*e.unit, newJob("a")))
		e.advance(6 * e.unit)
		e.wantIDs("Claim", e.claim(e.other(), e.worker(), 10, "a"), ids[1], ids[3])
		e.reap(e.b, backend.ReapRequest{})
		e.wantCancelled("the expired", ids[0], backend.ExpiredError)
		e.wantCancelled("the scheduled expired", ids[2], backend.ExpiredError)
	},
}, {
	name: "expiry/many",
	rule: "any number of expired jobs delays another job by a bounded number of claims only",
	run: func(e *env) {
		const expired = 3000
		jobs := make([]backend.NewJob, expired)
		for i := range jobs {
			jobs[i] = expiring(e.unit, newJob("a"))
		}
		e.pushJobs(e.b, jobs...)
		id := e.push(e.b, "a", 1)[0]
		e.advance(2 * e.unit)
		w := e.worker()
		for i := 0; ; i++ {
			got := e.claim(e.b, w, 10, "a")
			if len(got) > 0 {
				e.wantIDs("Claim", got, id)
				break
			}
			if i > expired/10 {
				e.Fatalf("%d claims found nothing", i)
			}
		}
		for e.reap(e.b, backend.ReapRequest{}).More {
		}
		e.wantCounts("a running=1 a cancelled=3000")
	},
}, {
	name: "expiry/left",
	rule: "a claimed job has the time in which it may still be started",
	run: func(e *env) {
		id := e.pushJobs(e.b, expiring(50*e.unit, newJob("a")))[0]
		e.push(e.b, "b", 1)
		if info := e.get(id); !info.ExpiresAt.Equal(info.CreatedAt.Add(50 * e.unit)) {
			e.Errorf("the job expires at %v", info.ExpiresAt)
		}
		e.advance(10 * e.unit)
		w := e.worker()
		if j := e.claim1(e.b, w, "a"); j.Expires <= 0 || j.Expires > 40*e.unit {
			e.Errorf("%v are left, want %v", j.Expires, 40*e.unit)
		}
		if j := e.claim1(e.b, w, "b"); j.Expires != 0 {
			e.Errorf("without an expiry %v are left", j.Expires)
		}
	},
}, {
	name: "expiry/first-start",
	rule: "a job that was claimed does not expire when it waits again",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) {
				continue
			}
			id := e.pushJobs(e.b, expiring(5*e.unit, newJob(way.job())))[0]
			w := e.worker()
			j := e.claim1(e.b, w, way.job())
			way.take(e, w, j)
			if info := e.get(id); !info.ExpiresAt.IsZero() {
				e.Errorf("after %s the job expires at %v", way.name, info.ExpiresAt)
			}
			e.advance(60 * e.unit)
			e.reap(e.b, backend.ReapRequest{})
			if j := e.claim1(e.b, e.worker(), way.job()); j.ID != id || j.Expires != 0 {
				e.Errorf("after %s the job is %+v", way.name, j)
			}
		}
	},
}, {
	name: "expiry/unstarted",
	rule: "a job that is released with the rest of its expiry counts as not started, and expires",
	run: func(e *env) {
		ids := e.pushJobs(e.b, expiring(50*e.unit, newJob("a")), expiring(50*e.unit, newJob("b")))
		w := e.worker()
		for i, name := range []string{"a", "b"} {
			j := e.claim1(e.b, w, name)
			e.advance(e.unit)
			e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRelease, Expires: 20 * e.unit}))
			info := e.get(ids[i])
			if kept := info.ExpiresAt.Sub(info.CreatedAt); kept < 20*e.unit || kept >= 50*e.unit {
				e.Errorf("the job expires %v after its push, want some %v", kept, 21*e.unit)
			}
		}
		if j := e.claim1(e.b, w, "b"); j.Expires <= 0 || j.Expires > 20*e.unit {
			e.Errorf("%v are left, want %v", j.Expires, 20*e.unit)
		}
		e.advance(25 * e.unit)
		if r := e.reap(e.b, backend.ReapRequest{}); r.Expired != 1 {
			e.Errorf("Reap returned %+v, want 1 expired", r)
		}
		e.wantCancelled("released", ids[0], backend.ExpiredError)
		e.wantState(ids[1], backend.Running)
		_, err := e.b.Fail(e.ctx, []backend.Failure{{Ending: backend.EndRetry, Expires: 1}})
		if !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("Fail with an expiry of a job that is not released = %v, want ErrInvalid", err)
		}
	},
}, {
	name: "expiry/running",
	rule: "a running job does not expire",
	run: func(e *env) {
		id := e.pushJobs(e.b, expiring(e.unit, newJob("a")))[0]
		j := e.claim1(e.b, e.worker(), "a")
		e.advance(5 * e.unit)
		if r := e.reap(e.b, backend.ReapRequest{}); r.Expired != 0 {
			e.Errorf("Reap returned %+v", r)
		}
		e.wantLost("Complete", e.complete(e.b, j.Lease))
		e.wantState(id, backend.Done)
	},
}, {
	name: "expiry/reap",
	rule: "Reap cancels and counts expired jobs in every waiting state, up to its limit",
	run: func(e *env) {
		serial := expiring(5*e.unit, serialJob("a", "k"))
		ids := e.pushJobs(e.b, expiring(5*e.unit, newJob("a")), expiring(5*e.unit, after(90*e.unit, newJob("a"))), serialJob("a", "k"), serial, serial)
		e.pushJobs(e.b, expiring(50*e.unit, newJob("a")))
		e.wantCounts("a scheduled=1 a blocked=2 a pending=3")
		e.advance(6 * e.unit)
		total := 0
		for i := 0; ; i++ {
			r := e.reap(e.b, backend.ReapRequest{Limit: 3})
			if r.Expired > 3 {
				e.Errorf("Reap returned %+v, its limit is 3", r)
			}
			total += r.Expired
			if !r.More {
				break
			}
			if i == 10 {
				e.Fatalf("Reap does not end")
			}
		}
		if total != 4 {
			e.Errorf("%d jobs expired, want 4", total)
		}
		for _, i := range []int{0, 1, 3, 4} {
			e.wantCancelled("expired", ids[i], backend.ExpiredError)
		}
		e.wantCounts("a pending=2 a cancelled=4")
	},
}, {
	name: "expiry/keys",
	rule: "a job that expires gives its keys back",
	run: func(e *env) {
		job := expiring(5*e.unit, serialJob("a", "s"))
		job.Unique.Key = "u"
		ids := e.pushJobs(e.b, job, serialJob("a", "s"))
		e.advance(6 * e.unit)
		e.wantIDs("Claim", e.claimUntil(e.b, e.worker(), "a"), ids[1])
		job.Serial = ""
		e.wantNew("when it has expired", job)
	},
}, {
	name: "expiry/invalid",
	rule: "an expiry that is negative or over 100 years is refused with ErrInvalid",
	run: func(e *env) {
		for _, expires := range []time.Duration{-1, 1<<63 - 1} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{expiring(expires, newJob("a"))}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Push with an expiry of %v = %v, want ErrInvalid", expires, err)
			}
		}
	},
}}

// claimUntil claims until something is found, or three times.
func (e *env) claimUntil(b backend.Backend, w backend.Worker, name string) (jobs []backend.Job) {
	e.Helper()
	for range 3 {
		if jobs = e.claim(b, w, 10, name); len(jobs) > 0 {
			break
		}
	}
	return jobs
}
