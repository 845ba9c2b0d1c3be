package conformance

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

var retryCases = []testCase{{
	name: "operate/retry",
	rule: "a retried job waits as if it were new, except for its errors, and no old lease settles it",
	run: func(e *env) {
		w := e.worker()
		for _, end := range out {
			name := end.job()
			job := newJob(name)
			job.Metadata = []byte("m")
			id := e.pushJobs(e.b, job)[0]
			e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, name).Lease, Ending: backend.EndRetry, Error: "first"})
			j := e.claim1(e.b, w, name)
			if p, ok := e.b.(backend.Heartbeater); ok {
				if err := p.StoreProgress(e.ctx, []backend.Progress{{Lease: j.Lease, Done: 1, Total: 2}}); err != nil {
					e.Errorf("Progress: %v", err)
				}
			}
			if end.name == complete.name {
				if lost, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: j.Lease, Result: []byte("r")}}); len(lost) > 0 || err != nil {
					e.Errorf("Complete = %v, %v", lost, err)
				}
			} else {
				end.take(e, w, j)
			}
			before := e.get(id)
			e.advance(e.unit / 10)
			e.wantAffected("Retry", backend.OpRetry, []int64{id}, id)
			info := e.get(id)
			if info.State != backend.Pending || info.Failures != 0 || info.Crashes != 0 || info.Suspect || !info.FinishedAt.IsZero() || info.Result != nil ||
				info.Done != 0 || info.Total != 0 || len(info.Errors) != len(before.Errors) || !info.RunAt.After(before.CreatedAt) || !info.CreatedAt.Equal(before.CreatedAt) {
				e.Errorf("the retried job is %+v", info)
			}
			e.wantLost("Complete of the old lease", e.complete(e.b, j.Lease), j.Lease)
			for _, ending := range endings {
				e.wantLost("Fail of the old lease", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: ending}), j.Lease)
			}
			again := e.claim1(e.other(), w, name)
			if again.ID != id || again.Attempt != 1 || !bytes.Equal(again.Payload, job.Payload) || string(again.Metadata) != "m" {
				e.Errorf("Claim returned %+v", again)
			}
			e.wantLost("Complete", e.complete(e.b, again.Lease))
		}
	},
}, {
	name: "operate/retry-crashed",
	rule: "a retried job that was failed because of its crashes is no suspect",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		for range 1 + backend.DefaultMaxCrashes {
			e.claim1(e.b, e.worker(), "a")
			e.crash(e.b)
		}
		e.wantAffected("Retry", backend.OpRetry, []int64{id}, id)
		jobs := e.claim(e.b, e.worker(), 10, "a")
		e.wantIDs("Claim without suspects", jobs, id)
	},
}, {
	name: "operate/retry-scheduled",
	rule: "a scheduled job that is retried runs at once, and keeps its failures",
	run: func(e *env) {
		w := e.worker()
		id := e.push(e.b, "a", 1)[0]
		e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndRetry, Delay: 90 * e.unit, Error: "x"})
		e.wantAffected("Retry", backend.OpRetry, []int64{id}, id)
		if j := e.claim1(e.b, w, "a"); j.ID != id || j.Attempt != 2 {
			e.Errorf("Claim returned %+v", j)
		}
	},
}, {
	name: "operate/retry-else",
	rule: "a retry leaves pending, blocked and running jobs alone",
	run: func(e *env) {
		ids := e.pushJobs(e.b, newJob("b"), serialJob("a", "k"), serialJob("a", "k"))
		e.claim1(e.b, e.worker(), "b")
		e.wantAffected("Retry", backend.OpRetry, ids)
		e.wantCounts("a blocked=1 a pending=1 b running=1")
	},
}, {
	name: "operate/retry-expired",
	rule: "a retried job does not expire",
	run: func(e *env) {
		id := e.pushJobs(e.b, expiring(e.unit, newJob("a")))[0]
		e.advance(2 * e.unit)
		e.reap(e.b, backend.ReapRequest{})
		e.wantCancelled("expired", id, backend.ExpiredError)
		e.wantAffected("Retry", backend.OpRetry, []int64{id}, id)
		e.reap(e.b, backend.ReapRequest{})
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"), id)
	},
}, {
	name: "operate/retry-unique",
	rule: "a retried job takes its unique key again; if another job has the key, the job is left alone and listed as a duplicate",
	run: func(e *env) {
		for i, u := range []backend.Unique{{Key: "k"}, {Key: "k", Scope: backend.UntilStarted}} {
			w := e.worker()
			job := uniqueJob(fmt.Sprint("a", i), u)
			first := e.wantNew("the first", job)
			e.complete(e.b, e.claim1(e.b, w, job.Name).Lease)
			e.wantAffected("Retry", backend.OpRetry, []int64{first}, first)
			e.wantDuplicate("the first retried", job, first)
			e.complete(e.b, e.claim1(e.b, w, job.Name).Lease)
			second := e.wantNew("the second", job)
			before := e.get(first)
			if r := e.operate(backend.OpRetry, backend.Filter{IDs: []int64{first}}); len(r.Affected) > 0 || !slices.Equal(r.Duplicates, []int64{first}) {
				e.Errorf("Retry of the first = %+v", r)
			}
			if after := e.get(first); after.State != before.State || !after.FinishedAt.Equal(before.FinishedAt) {
				e.Errorf("the job was %+v and is %+v", before, after)
			}
			e.complete(e.b, e.claim1(e.b, w, job.Name).Lease)
			r := e.operate(backend.OpRetry, backend.Filter{IDs: []int64{first, second}})
			if len(r.Affected) != 1 || len(r.Duplicates) != 1 {
				e.Errorf("Retry of both = %+v", r)
			}
		}
	},
}, {
	name: "operate/retry-serial",
	rule: "a retried job with a serial key is blocked if the key has a head, and becomes the head otherwise",
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"), serialJob("a", "k"))
		w := e.worker()
		e.complete(e.b, e.claim1(e.b, w, "a").Lease)
		e.wantAffected("Retry", backend.OpRetry, ids[:1], ids[0])
		if info := e.get(ids[0]); info.State != backend.Blocked || info.BlockedBy != ids[1] {
			e.Errorf("the retried job is %+v", info)
		}
		for _, id := range []int64{ids[1], ids[0], ids[2]} { // the lowest ID is next
			jobs := e.claim(e.b, w, 10, "a")
			e.wantIDs("Claim", jobs, id)
			e.complete(e.b, jobs[0].Lease)
		}
		e.wantAffected("Retry", backend.OpRetry, ids[1:2], ids[1])
		e.wantState(ids[1], backend.Pending)
		e.wantState(e.pushJobs(e.b, serialJob("a", "k"))[0], backend.Blocked)
	},
}, {
	name: "operate/retry-together",
	rule: "jobs with one serial key that are retried together run and are listed in the order of their IDs; of jobs with one unique key the newest takes it",
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"), serialJob("a", "k"))
		e.wantAffected("Cancel", backend.OpCancel, ids, ids...)
		if r := e.operate(backend.OpRetry, backend.Filter{Names: []string{"a"}}); !slices.Equal(r.Affected, ids) {
			e.Errorf("Retry = %+v, want %v", r, ids)
		}
		w := e.worker()
		for _, id := range ids {
			jobs := e.claim(e.b, w, 10, "a")
			e.wantIDs("Claim", jobs, id)
			e.complete(e.b, jobs[0].Lease)
		}
		job := uniqueJob("b", backend.Unique{Key: "k"})
		ids = ids[:0]
		for range 3 {
			ids = append(ids, e.wantNew("one more", job))
			e.complete(e.b, e.claim1(e.b, w, "b").Lease)
		}
		if r := e.operate(backend.OpRetry, backend.Filter{Names: []string{"b"}}); !slices.Equal(r.Affected, ids[2:]) || !slices.Equal(r.Duplicates, ids[:2]) {
			e.Errorf("Retry = %+v, want %v and duplicates %v", r, ids[2:], ids[:2])
		}
	},
}, {
	name: "operate/retry-keeps",
	rule: "a retried job keeps its priority, payload, MaxAttempts and creation time",
	run: func(e *env) {
		operator := capability[backend.Operator](e, e.b)
		job := newJob("a")
		job.Priority, job.MaxAttempts = 7, 9
		id := e.push1(e.b, job).ID
		e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, e.worker(), "a").Lease, Ending: backend.EndFailed, Error: "no"})
		before := e.get(id)
		if r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{id}}}); err != nil || len(r.Affected) != 1 {
			e.Fatalf("Operate = %+v, %v", r, err)
		}
		got := e.get(id)
		if got.Priority != 7 || got.MaxAttempts != 9 || !bytes.Equal(got.Payload, job.Payload) || !got.CreatedAt.Equal(before.CreatedAt) {
			e.Errorf("the retried job is %+v; it was %+v", got, before)
		}
	},
}}
