package conformance

import (
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

var uniqueForCases = []testCase{{
	name: "unique/for",
	rule: "with For the key is kept for that time after the push although the job is done or failed, and KeepFirst returns that job",
	run: func(e *env) {
		for _, scope := range []backend.Scope{backend.UntilFinished, backend.UntilStarted} {
			job := uniqueJob(fmt.Sprint("a", scope), backend.Unique{Key: "k", Scope: scope, For: 20 * e.unit})
			id := e.wantNew("the first", job)
			w := e.worker()
			j := e.claim1(e.b, w, job.Name)
			e.wantDuplicate("running", job, id)
			e.complete(e.b, j.Lease)
			e.wantDuplicate("done", job, id)
			e.advance(10 * e.unit)
			e.reap(e.b, backend.ReapRequest{})
			e.wantDuplicate("before the time", job, id)
			e.advance(10 * e.unit)
			id = e.wantNew("at the time", job)
			e.advance(21 * e.unit) // a job that is not finished keeps it longer
			e.reap(e.b, backend.ReapRequest{})
			e.wantDuplicate("pending after the time", job, id)
			e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, job.Name).Lease, Ending: backend.EndFailed})
			id = e.wantNew("failed after the time", job)
			e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, job.Name).Lease, Ending: backend.EndFailed})
			e.wantDuplicate("failed before the time", job, id)
		}
	},
}, {
	name: "unique/for-history",
	rule: "history does not delete a job that keeps its unique key, so the ID of a duplicate is that of a stored job; it deletes the job when the time is over",
	opts: Options{History: backend.History{Done: -1, Failed: -1, Rows: 1}},
	run: func(e *env) {
		w := e.worker()
		job := uniqueJob("a", backend.Unique{Key: "k"})
		id := e.wantNew("the first", job)
		e.complete(e.b, e.claim1(e.b, w, "a").Lease)
		e.wantState(id, 0)
		e.wantNew("deleted", job)
		e.complete(e.b, e.claim1(e.b, w, "a").Lease)
		ends := map[string]way{"a": out[0], "b": out[1]}
		var ids []int64
		for _, name := range []string{"a", "b"} {
			for _, key := range []string{"k", "l"} {
				id := e.wantNew("the first", uniqueJob(name, backend.Unique{Key: key, For: 20 * e.unit}))
				ends[name].take(e, w, e.claim1(e.b, w, name))
				ids = append(ids, id)
			}
		}
		other := e.push(e.b, "a", 1)[0]
		e.complete(e.b, e.claim1(e.b, w, "a").Lease)
		e.wantState(other, 0)
		e.advance(10 * e.unit)
		e.reap(e.b, backend.ReapRequest{})
		for i, id := range ids {
			job := uniqueJob([]string{"a", "b"}[i/2], backend.Unique{Key: []string{"k", "l"}[i%2]})
			e.wantDuplicate("before the time", job, id)
			if info := e.get(id); !info.State.Terminal() || info.KeyUntil.IsZero() {
				e.Errorf("the job that keeps its key is %+v", info)
			}
		}
		e.advance(10 * e.unit)
		for range 3 {
			e.reap(e.b, backend.ReapRequest{})
		}
		e.wantCounts("")
		e.wantNew("after the time", job)
	},
}, {
	name: "unique/for-cancelled",
	rule: "a job that is cancelled, in any state and by any means, gives its unique key back, whatever For says",
	run: func(e *env) {
		w := e.worker()
		for _, scope := range []backend.Scope{backend.UntilFinished, backend.UntilStarted} {
			job := func(name string) backend.NewJob {
				return uniqueJob(fmt.Sprint(name, scope), backend.Unique{Key: "k", Scope: scope, For: 50 * e.unit})
			}
			e.wantNew("the first", job("handler"))
			j := e.claim1(e.b, w, job("handler").Name)
			e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndCancelled})
			e.wantNew("cancelled by its handler", job("handler"))
			e.wantNew("the first", expiring(e.unit/2, job("expires")))
			e.advance(e.unit)
			e.reap(e.b, backend.ReapRequest{})
			e.wantNew("expired", job("expires"))
			if _, ok := e.b.(backend.Operator); !ok {
				continue
			}
			waits := e.wantNew("the first", job("waits"))
			e.wantAffected("Cancel", backend.OpCancel, []int64{waits}, waits)
			e.wantNew("cancelled while it waited", job("waits"))
			runs := e.wantNew("the first", job("runs"))
			w := e.worker()
			j = e.claim1(e.b, w, job("runs").Name)
			e.wantAffected("Cancel", backend.OpCancel, []int64{runs}, runs)
			e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Delay: e.unit})
			e.wantNew("cancelled while it ran", job("runs"))
		}
	},
}, {
	name: "unique/for-itself",
	rule: "a job never conflicts with itself: its own kept key does not supersede it",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) {
				continue
			}
			job := uniqueJob(way.job(), backend.Unique{Key: "k", Scope: backend.UntilStarted, For: 100 * e.unit})
			id := e.wantNew("the first", job)
			w := e.worker()
			j := e.claim1(e.b, w, job.Name)
			e.wantDuplicate("running", job, id)
			way.take(e, w, j)
			if state := e.state(id); !state.Waits() {
				e.Errorf("after %s the job is %v", way.name, state)
			}
			e.wantDuplicate("after "+way.name, job, id)
		}
	},
}}
