package conformance

import "github.com/plainjobs/plainjobs/backend"

// fairJoinCases are about the turn at which a key joins those that wait.
var fairJoinCases = []testCase{{
	name: "fair/returned",
	rule: "a job that is released or given another priority does not give its old turn to keys that come after it",
	run: func(e *env) {
		w := e.worker()
		b := e.pushFair("a", "B", 1)
		held := e.claim1(e.b, w, "a")
		e.advance(e.unit / 10)
		a := e.pushFair("a", "A", 3)
		e.fail(e.b, backend.Failure{Lease: held.Lease, Ending: backend.EndRelease})
		c := e.pushFair("a", "C", 3)
		got := e.claim(e.b, w, 10, "a")
		e.wantIDs("Claim after a release", got, b[0], a[0], c[0], a[1], c[1], a[2], c[2])
		e.completeAll(got)

		e.pushFair("z", "B", 1)
		held = e.claim1(e.b, w, "z")
		e.advance(e.unit / 10)
		e.pushFair("z", "A", 2)
		e.claim(e.b, w, 2, "z")
		e.advance(e.unit / 10)
		e.fail(e.b, backend.Failure{Lease: held.Lease, Ending: backend.EndRelease})
		c = e.pushFair("z", "C", 3)
		a = e.pushFair("z", "A", 1)
		e.wantIDs("Claim after a release while none waited", e.claim(e.b, w, 10, "z"), held.ID, c[0], a[0], c[1], c[2])

		b = e.pushFair("y", "B", 1)
		e.advance(e.unit / 10)
		a = e.pushJobs(e.b, urgentJob("y", "A"), urgentJob("y", "A"))
		high := urgentJob("y", "").Priority
		_, err := capability[backend.Operator](e, e.b).Operate(e.ctx, backend.OperateRequest{Op: backend.OpPrioritize, Filter: backend.Filter{IDs: b}, Priority: &high})
		if err != nil {
			e.Fatalf("Operate: %v", err)
		}
		c = e.pushJobs(e.b, urgentJob("y", "C"), urgentJob("y", "C"), urgentJob("y", "B"))
		e.wantIDs("Claim after OpPrioritize", e.claim(e.b, w, 10, "y"), b[0], a[0], c[0], a[1], c[1], c[2])
	},
}, {
	name: "fair/done",
	rule: "a key whose jobs have ended joins at the turn that has been reached",
	run: func(e *env) {
		w := e.worker()
		b := e.pushFair("a", "B", 5)
		a := e.pushFair("a", "A", 1)
		got := e.claim(e.b, w, 2, "a")
		e.wantIDs("Claim", got, b[0], a[0])
		e.completeAll(got)
		e.advance(e.unit / 10)
		a = e.pushFair("a", "A", 2)
		e.wantIDs("Claim of the key's next jobs", e.claim(e.b, w, 10, "a"), b[1], a[0], b[2], a[1], b[3], b[4])
	},
}, {
	name: "fair/apart",
	rule: "the turns of a key's jobs of one priority do not count for its jobs of another",
	run: func(e *env) {
		w := e.worker()
		b := e.pushFair("a", "B", 5)
		e.advance(e.unit / 10)
		e.pushJobs(e.b, urgentJob("a", "A"))
		e.complete(e.b, e.claim1(e.b, w, "a").Lease)
		a := e.pushFair("a", "A", 1)
		e.wantIDs("Claim after a job of another priority", e.claim(e.b, w, 10, "a"), b[0], a[0], b[1], b[2], b[3], b[4])

		b = e.pushFair("z", "B", 3)
		e.advance(e.unit / 10)
		high := e.pushJobs(e.b, urgentJob("z", "A"), urgentJob("z", "A"))
		a = e.pushFair("z", "A", 1)
		late := e.pushJobs(e.b, after(e.unit, fairJob("z", "A")))
		e.advance(2 * e.unit)
		e.wantIDs("Claim while jobs of another priority wait", e.claim(e.b, w, 10, "z"), high[0], high[1], b[0], a[0], b[1], late[0], b[2])
	},
}}

// urgentJob returns a job with a fair key and a priority.
func urgentJob(name, key string) backend.NewJob {
	j := fairJob(name, key)
	j.Priority = 5
	return j
}
