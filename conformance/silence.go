package conformance

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// look reaps as a worker that has just started, and reports whether a worker was
// found dead.
func (e *env) look(by backend.Worker) bool {
	e.Helper()
	r := e.reap(e.other(), backend.ReapRequest{By: by.ID})
	return len(r.Workers) > 0
}

// silent claims a job by a worker that stops renewing, lets its lease end, and
// returns both.
func (e *env) silent() (job int64, w backend.Worker) {
	e.Helper()
	job = e.push(e.b, "a", 1)[0]
	w = e.worker()
	w.Lease = 6 * e.unit // long enough for observations at parts of it
	e.claim1(e.b, w, "a")
	e.advance(w.Lease + e.unit/10)
	return job, w
}

var silenceCases = []testCase{{
	name: "reap/silence",
	rule: "short-lived workers together find a worker dead that they observed silent for a third of its lease",
	run: func(e *env) {
		job, w := e.silent()
		for i, step := range []time.Duration{0, w.Lease / 5, w.Lease / 5} {
			e.advance(step)
			if dead := e.look(e.worker()); dead != (i == 2) {
				e.Fatalf("observation %d: a worker was found dead: %v", i, dead)
			}
		}
		if info := e.get(job); info.State != backend.Pending || !info.Suspect {
			e.Errorf("the job is %+v, want it rescued", info)
		}
	},
}, {
	name: "reap/silence-gaps",
	rule: "of a long time without an observation, a sixth of the lease counts, because the system may have stood still",
	run: func(e *env) {
		job, w := e.silent()
		for i := range 3 {
			if dead := e.look(e.worker()); dead != (i == 2) {
				e.Fatalf("observation %d: a worker was found dead: %v", i, dead)
			}
			e.advance(w.Lease * 2)
		}
		e.wantState(job, backend.Pending)
	},
}, {
	name: "reap/silence-own",
	rule: "a worker's own observations count for as long as it was stable, and not otherwise",
	run: func(e *env) {
		job, w := e.silent()
		me := e.worker()
		for i := range 4 {
			if e.look(me) {
				e.Fatalf("observation %d by an unstable worker found a worker dead", i)
			}
			e.advance(w.Lease / 4)
		}
		steady := backend.ReapRequest{By: me.ID, Expired: true, StableFor: w.Lease / 5}
		for i := range 2 {
			if r := e.reap(e.b, steady); (len(r.Workers) > 0) != (i == 1) {
				e.Fatalf("observation %d by a worker stable for a fifth of the lease returned %+v", i, r)
			}
			e.advance(w.Lease / 4)
		}
		e.wantState(job, backend.Pending)
	},
}, {
	name: "reap/silence-over",
	rule: "a renewal ends a silence, and earlier observations no longer count",
	run: func(e *env) {
		job, w := e.silent()
		for i := range 3 {
			if e.look(e.worker()) {
				e.Fatalf("round %d: a worker that has renewed was found dead", i)
			}
			e.advance(w.Lease / 4)
			if e.look(e.worker()) {
				e.Fatalf("round %d: a worker that has renewed was found dead", i)
			}
			e.claim(e.b, w, 0)
			e.advance(w.Lease + e.unit/10)
		}
		e.wantState(job, backend.Running)
	},
}, {
	name: "reap/silence-all",
	rule: "if no worker could renew for a while, the first that renews again finds none dead",
	run: func(e *env) {
		e.push(e.b, "a", 5)
		var all []backend.Worker
		for range 5 {
			w := e.worker()
			w.Lease = 6 * e.unit
			e.claim1(e.b, w, "a")
			all = append(all, w)
		}
		for range 3 {
			e.advance(20 * e.unit)
			for _, w := range all {
				if e.look(w) {
					e.Fatalf("a worker that stood still was found dead")
				}
				e.claim(e.b, w, 0)
			}
		}
		e.wantCounts("a running=5")
	},
}}
