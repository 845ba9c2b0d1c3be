package conformance

import (
	"bytes"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Each case pins a value that other cases use and do not check.
var detailCases = []testCase{{
	name: "claim/times",
	rule: "a claimed job has the CreatedAt and the RunAt that Get shows",
	run: func(e *env) {
		for _, job := range []backend.NewJob{newJob("a"), after(2*e.unit, newJob("b"))} {
			id := e.push1(e.b, job).ID
			stored := e.get(id)
			e.advance(job.Delay + e.unit/10)
			got := e.claim1(e.b, e.worker(), job.Name)
			if !got.CreatedAt.Equal(stored.CreatedAt) || !got.RunAt.Equal(stored.RunAt) || got.RunAt.Sub(got.CreatedAt) != job.Delay {
				e.Errorf("Claim of a job with delay %v: created %v, run at %v; Get showed %v and %v",
					job.Delay, got.CreatedAt, got.RunAt, stored.CreatedAt, stored.RunAt)
			}
		}
	},
}, {
	name: "claim/keys",
	rule: "a claimed job has the unique and serial keys that it was pushed with, or none",
	run: func(e *env) {
		both := serialJob("a", "s")
		both.Unique.Key = "u"
		for _, limited := range []bool{false, true} { // a limit may be another path
			if setter, ok := e.b.(backend.SettingsStore); limited && ok {
				if err := setter.Set(e.ctx, []backend.Settings{{Name: "a", MaxRunning: 100}}); err != nil {
					e.Fatalf("Set: %v", err)
				}
			}
			for _, job := range []backend.NewJob{newJob("a"), uniqueJob("a", backend.Unique{Key: "u"}),
				uniqueJob("a", backend.Unique{Key: "v", Scope: backend.UntilStarted}), serialJob("a", "s"), both} {
				e.push1(e.b, job)
				got := e.claim1(e.b, e.worker(), "a")
				if got.UniqueKey != job.Unique.Key || got.SerialKey != job.Serial {
					e.Errorf("Claim of a job with the keys %q and %q has %q and %q", job.Unique.Key, job.Serial, got.UniqueKey, got.SerialKey)
				}
				e.complete(e.b, got.Lease)
			}
		}
	},
}, {
	name: "claim/skips-expired",
	rule: "expired jobs take no place in a claim, which returns up to its limit of other jobs",
	run: func(e *env) {
		urgent := expiring(e.unit, newJob("a"))
		urgent.Priority = 1
		e.pushJobs(e.b, urgent)
		high := newJob("b")
		high.Priority = 1
		ids := e.pushJobs(e.b, high, newJob("a"), newJob("b"), newJob("a"))
		e.advance(2 * e.unit)
		req := request(e.worker(), 3, "a", "b")
		req.MaxPerName = map[string]int{"b": 1}
		e.wantIDs("Claim", e.claimRequest(e.b, req), ids[0], ids[1], ids[3])
	},
}, {
	name: "complete/empty-result",
	rule: "an empty result is stored as empty, and a nil result as none",
	run: func(e *env) {
		reader := e.reader()
		for want, result := range map[string][]byte{"empty": {}, "nil": nil} {
			id := e.push(e.b, "a", 1)[0]
			job := e.claim1(e.b, e.worker(), "a")
			if lost, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: job.Lease, Result: result}}); err != nil || len(lost) > 0 {
				e.Fatalf("Complete = %v, %v", lost, err)
			}
			info, err := reader.Get(e.ctx, id)
			if err != nil || len(info.Result) != 0 || (info.Result == nil) != (result == nil) {
				e.Errorf("the %s result is %#v, %v", want, info.Result, err)
			}
		}
	},
}, {
	name: "fail/snooze-attempt",
	rule: "a snoozed or released job is claimed with the same attempt number, a failed one with the next",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		w := e.worker()
		want := 1
		for _, ending := range []backend.Ending{backend.EndSnooze, backend.EndRelease, backend.EndRetry, backend.EndSnooze} {
			job := e.claim1(e.b, w, "a")
			if job.Attempt != want {
				e.Fatalf("the attempt is %d, want %d before ending %v", job.Attempt, want, ending)
			}
			f := backend.Failure{Lease: job.Lease, Ending: ending}
			if ending == backend.EndRetry {
				f.Error = "no"
				want++
			}
			e.wantLost("Fail", e.fail(e.b, f))
		}
		if job := e.claim1(e.b, w, "a"); job.Attempt != want {
			e.Errorf("the attempt is %d, want %d", job.Attempt, want)
		}
	},
}, {
	name: "heartbeat/leave-leases",
	rule: "a worker that has left holds no lease: a late settlement is lost and changes nothing",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		ids := e.push(e.b, "a", 2)
		w := e.worker()
		jobs := e.claim(e.b, w, 2, "a")
		e.wantIDs("Claim", jobs, ids...)
		if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
			e.Fatalf("Heartbeat: %v", err)
		}
		e.wantLost("Complete", e.complete(e.b, jobs[0].Lease), jobs[0].Lease)
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed, Error: "no"}), jobs[1].Lease)
		e.wantCounts("a pending=2")
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
}, {
	name: "export/keys-and-ids",
	rule: "an exported job has its KeyUntil, and a page has the highest ID ever assigned",
	run: func(e *env) {
		capability[backend.Transferer](e, e.b)
		const kept = time.Hour
		job := uniqueJob("a", backend.Unique{Key: "k", For: kept})
		id := e.push1(e.b, job).ID
		last := e.push(e.b, "b", 1)[0]
		created := e.get(id).CreatedAt
		e.complete(e.b, e.claim1(e.b, e.worker(), "a").Lease)
		batch := e.export(e.b, backend.ExportRequest{Jobs: 10})
		if batch.LastID < last {
			e.Errorf("LastID is %d, and job %d was stored", batch.LastID, last)
		}
		i := slices.IndexFunc(batch.Jobs, func(r backend.Record) bool { return r.ID == id })
		if i < 0 || !batch.Jobs[i].KeyUntil.Equal(created.Add(kept)) {
			e.Errorf("job %d has the key until %v: exported are %+v", id, created.Add(kept), batch.Jobs)
		}
	},
}}
