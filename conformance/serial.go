package conformance

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
)

var serialCases = []testCase{{
	name: "serial/order",
	rule: "jobs with one serial key run one at a time in the order of their IDs, and other jobs run meanwhile",
	run: func(e *env) {
		var keyed, ids []int64
		for range 4 {
			keyed = append(keyed, e.pushJobs(e.b, serialJob("a", "k"))[0])
			ids = append(ids, e.pushJobs(e.other(), newJob("a"), serialJob("b", "k"))...)
		}
		e.wantCounts("a blocked=3 a pending=5 b blocked=3 b pending=1")
		if info := e.get(keyed[3]); info.State != backend.Blocked || info.BlockedBy != keyed[0] || info.SerialKey != "k" {
			e.Errorf("the blocked job is %+v", info)
		}
		w := e.worker()
		jobs := e.claim(e.b, w, 100, "a", "b")
		e.wantIDs("Claim", jobs, keyed[0], ids[0], ids[1], ids[2], ids[4], ids[6])
		for i := range 3 {
			e.wantIDs("Claim while one runs", e.claim(e.b, w, 100, "a"))
			e.complete(e.other(), jobs[0].Lease)
			jobs = e.claim(e.b, w, 100, "a")
			e.wantIDs("Claim of the next", jobs, keyed[i+1])
		}
		e.complete(e.b, jobs[0].Lease)
		next := e.pushJobs(e.b, serialJob("a", "k"))
		e.wantIDs("Claim of the next push", e.claim(e.b, w, 100, "a"), next...)
	},
}, {
	name: "serial/priority",
	rule: "jobs with one serial key run in the order of their IDs, whatever their priority",
	run: func(e *env) {
		var ids []int64
		for priority := range int16(4) {
			job := serialJob("a", "k")
			job.Priority = priority
			ids = append(ids, e.pushJobs(e.b, job)...)
		}
		w := e.worker()
		for _, id := range ids {
			jobs := e.claim(e.b, w, 10, "a")
			e.wantIDs("Claim", jobs, id)
			e.complete(e.b, jobs[0].Lease)
		}
	},
}, {
	name: "serial/batch",
	rule: "in a batch, the first job with a free serial key is not blocked, and the others are",
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"), serialJob("a", "l"), serialJob("a", "k"))
		e.wantState(ids[1], backend.Blocked)
		e.wantState(ids[3], backend.Blocked)
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"), ids[0], ids[2])
	},
}, {
	name: "serial/ends",
	rule: "however the running job ends, the blocked job with the lowest ID is pending at once",
	run: func(e *env) {
		for _, end := range out {
			ids := e.pushJobs(e.b, serialJob(end.job(), "k"), serialJob(end.job(), "k"), serialJob(end.job(), "k"))
			w := e.worker()
			end.take(e, w, e.claim1(e.b, w, end.job()))
			e.wantState(ids[1], backend.Pending)
			e.wantState(ids[2], backend.Blocked)
			if info := e.get(ids[2]); info.BlockedBy != ids[1] {
				e.Errorf("the last is blocked by %d, want %d", info.BlockedBy, ids[1])
			}
		}
	},
}, {
	name: "serial/head-waits",
	rule: "a head that waits again, or is scheduled, keeps the others blocked",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) {
				continue
			}
			ids := e.pushJobs(e.b, serialJob(way.job(), "k"), serialJob(way.job(), "k"))
			w := e.worker()
			way.take(e, w, e.claim1(e.b, w, way.job()))
			e.wantState(ids[1], backend.Blocked)
			third := e.pushJobs(e.b, serialJob(way.job(), "k"))[0]
			e.wantState(third, backend.Blocked)
			e.advance(50 * e.unit)
			if j := e.claim1(e.b, e.worker(), way.job()); j.ID != ids[0] {
				e.Errorf("after %s job %d is claimed, want %d", way.name, j.ID, ids[0])
			}
		}
		ids := e.pushJobs(e.b, after(e.unit, serialJob("a", "k")), serialJob("a", "k"))
		e.wantState(ids[0], backend.Scheduled)
		e.wantState(ids[1], backend.Blocked)
	},
}, {
	name: "serial/delay",
	rule: "the delay of a blocked job runs: when unblocked, the job is scheduled if it is not due, and pending otherwise",
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), after(10*e.unit, serialJob("a", "k")), after(15*e.unit, serialJob("a", "k")))
		e.wantState(ids[1], backend.Blocked)
		w := e.worker()
		e.complete(e.b, e.claim1(e.b, w, "a").Lease)
		e.wantState(ids[1], backend.Scheduled)
		e.wantState(ids[2], backend.Blocked)
		e.advance(10 * e.unit)
		j := e.claim1(e.b, w, "a")
		e.advance(10 * e.unit)
		e.reap(e.b, backend.ReapRequest{})
		e.wantState(ids[2], backend.Blocked)
		e.complete(e.b, j.Lease)
		e.wantState(ids[2], backend.Pending)
	},
}, {
	name: "serial/failed-crashes",
	rule: "a job that fails because of its crashes gives its serial key back",
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"))
		for range 1 + backend.DefaultMaxCrashes {
			e.claim1(e.b, e.worker(), "a")
			e.wantState(ids[1], backend.Blocked)
			e.crash(e.b)
		}
		e.wantState(ids[0], backend.Failed)
		e.wantState(ids[1], backend.Pending)
	},
}, {
	name: "serial/superseded",
	rule: "a superseded job gives its serial key back",
	run: func(e *env) {
		job := serialJob("a", "s")
		job.Unique = backend.Unique{Key: "u", Scope: backend.UntilStarted}
		w := e.worker()
		first := e.wantNew("the first", job)
		j := e.claim1(e.b, w, "a")
		second := e.wantNew("the second", job)
		e.wantState(second, backend.Blocked)
		e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry})
		e.wantCancelled("the first", first, superseded(second))
		e.wantState(second, backend.Pending)
	},
}, {
	name: "serial/deleted",
	rule: "a job that is deleted in the transaction that ends it gives its serial key back",
	opts: Options{History: backend.History{Done: -1, Failed: -1}},
	run: func(e *env) {
		ids := e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"), serialJob("a", "k"))
		w := e.worker()
		e.wantLost("Complete", e.complete(e.b, e.claim1(e.b, w, "a").Lease))
		e.wantState(ids[0], 0)
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndFailed}))
		e.wantState(ids[1], 0)
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"), ids[2])
	},
}, {
	name: "serial/push-race",
	rule: "of jobs with one serial key that are pushed concurrently, exactly one is not blocked",
	run: func(e *env) {
		const pushers = 8
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			e.atOnce(pushers, func(_ int, b backend.Backend) {
				if _, err := b.Push(e.ctx, []backend.NewJob{serialJob(name, "k")}); err != nil {
					e.Errorf("Push: %v", err)
				}
			})
			w := e.worker()
			for range pushers {
				jobs := e.claim(e.b, w, 100, name)
				if len(jobs) != 1 {
					e.Fatalf("Claim returned %d jobs with one key, want 1", len(jobs))
				}
				e.complete(e.b, jobs[0].Lease)
			}
		}
	},
}, {
	name: "serial/one-head",
	rule: "every read shows exactly one unfinished job with a serial key that is not blocked",
	run: func(e *env) {
		const jobs, before = 60, 20
		for range before {
			e.pushJobs(e.b, serialJob("a", "k"))
		}
		w := e.worker()
		var running, finished atomic.Int32
		stop := make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() {
			defer e.recoverShort()
			for {
				select {
				case <-stop:
					return
				default:
				}
				page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{"a"}, Key: "k"}, Limit: 1000})
				live, heads := 0, 0
				for _, j := range page.Jobs {
					if !j.State.Terminal() {
						live++
						if j.State != backend.Blocked {
							heads++
						}
					}
				}
				if err != nil || heads != min(live, 1) {
					e.Errorf("List shows %d unfinished jobs of which %d are not blocked, %v", live, heads, err)
					return
				}
			}
		})
		e.atOnce(6, func(i int, b backend.Backend) {
			if i < 2 {
				for range (jobs - before) / 2 {
					if _, err := b.Push(e.ctx, []backend.NewJob{serialJob("a", "k")}); err != nil {
						e.Errorf("Push: %v", err)
					}
				}
				return
			}
			e.until(func() bool {
				got, err := b.Claim(e.ctx, request(w, 5, "a"))
				if err != nil || len(got) > 1 {
					e.Errorf("Claim = %d jobs, %v; want at most one", len(got), err)
				}
				for _, j := range got {
					if n := running.Add(1); n > 1 {
						e.Errorf("%d jobs with one key run", n)
					}
					for range 10 {
						runtime.Gosched()
					}
					running.Add(-1)
					switch j.ID % 3 {
					case 0:
						_, err = b.Fail(e.ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndFailed}})
					default:
						_, err = b.Complete(e.ctx, []backend.Completion{{Lease: j.Lease}})
					}
					if err != nil {
						e.Errorf("settling: %v", err)
					}
					finished.Add(1)
				}
				return finished.Load() >= jobs || e.Failed()
			})
		})
		close(stop)
		watch.Wait()
		if n := finished.Load(); n != jobs {
			e.Errorf("%d jobs were run, want %d", n, jobs)
		}
	},
}, {
	name: "serial/invalid",
	rule: "a serial key that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		for _, key := range []string{strings.Repeat("x", 256), "\xff", "a\x00"} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{newJob("a"), serialJob("a", key)}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Push of key %q = %v, want ErrInvalid", key, err)
			}
		}
		e.wantCounts("")
	},
}}
