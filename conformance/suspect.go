package conformance

import (
	"github.com/plainjobs/plainjobs/backend"
)

var suspectCases = []testCase{{
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
}}
