package conformance

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// bounded returns job with a bound on how many wait.
func bounded(most int, job backend.NewJob) backend.NewJob {
	job.MaxPending = most
	return job
}

// wantFull pushes jobs of which the one at index is one too many.
func (e *env) wantFull(jobs []backend.NewJob, index int, waiting int64) {
	e.Helper()
	_, err := e.other().Push(e.ctx, jobs)
	want := backend.QueueFullError{Index: index, Name: jobs[index].Name, Waiting: waiting, MaxPending: jobs[index].MaxPending}
	if f, ok := errors.AsType[*backend.QueueFullError](err); !ok || *f != want || !errors.Is(err, backend.ErrQueueFull) {
		e.Errorf("Push = %v, want %v", err, &want)
	}
}

// span is a time in which no case ends.
const span = time.Hour

var limitCases = []testCase{{
	name:  "limit/max-pending",
	needs: backend.FieldMaxPending,
	rule:  "a push after which more jobs of the name than MaxPending would wait is refused as a whole, with the index of the job",
	run: func(e *env) {
		job := bounded(4, newJob("a"))
		e.pushJobs(e.b, after(90*e.unit, newJob("a")), serialJob("a", "k"), serialJob("a", "k"))
		e.wantCounts("a scheduled=1 a blocked=1 a pending=1")
		e.wantFull([]backend.NewJob{newJob("b"), job, newJob("b"), job, job}, 3, 4)
		e.wantFull([]backend.NewJob{newJob("a"), job}, 1, 4)
		e.wantCounts("a scheduled=1 a blocked=1 a pending=1")
		e.pushJobs(e.b, job)
		e.wantFull([]backend.NewJob{job}, 0, 4)
		e.pushJobs(e.b, bounded(1, newJob("b")))
		w := e.worker()
		e.claim(e.b, w, 10, "a") // what runs does not wait
		e.pushJobs(e.b, job, job)
		e.wantFull([]backend.NewJob{after(e.unit, job)}, 0, 4)
	},
}, {
	name:  "limit/max-pending-duplicates",
	needs: backend.FieldMaxPending,
	rule:  "a duplicate adds nothing to the waiting jobs and is not refused",
	run: func(e *env) {
		job := uniqueJob("a", backend.Unique{Key: "k"})
		id := e.wantNew("the first", bounded(1, job))
		e.wantDuplicate("the second", bounded(1, job), id)
		pushed, err := e.b.Push(e.ctx, []backend.NewJob{bounded(1, job), bounded(2, job), bounded(2, newJob("a"))})
		if err != nil || len(pushed) != 3 || pushed[0].ID != id || pushed[1].ID != id || pushed[2].Duplicate {
			e.Errorf("Push = %v, %v", pushed, err)
		}
		e.wantFull([]backend.NewJob{job, bounded(2, newJob("a"))}, 1, 2)
	},
}, {
	name:  "limit/max-pending-race",
	needs: backend.FieldMaxPending,
	rule:  "the bound holds for any number of pushes at the same time",
	run: func(e *env) {
		var stored, refused atomic.Int32
		e.atOnce(8, func(_ int, b backend.Backend) {
			for range 4 {
				switch _, err := b.Push(e.ctx, []backend.NewJob{bounded(10, newJob("a"))}); {
				case err == nil:
					stored.Add(1)
				case errors.Is(err, backend.ErrQueueFull):
					refused.Add(1)
				default:
					e.Errorf("Push: %v", err)
				}
			}
		})
		if stored.Load() != 10 || refused.Load() != 22 {
			e.Errorf("%d jobs were stored and %d refused, want 10 and 22", stored.Load(), refused.Load())
		}
		e.wantCounts("a pending=10")
	},
}, {
	name:  "limit/max-pending-together",
	needs: backend.FieldMaxPending,
	rule:  "concurrent pushes are each stored or refused as a whole, independently, with the index in their own batch",
	run: func(e *env) {
		batch := []backend.NewJob{newJob("b"), bounded(10, newJob("a")), newJob("b"), bounded(10, newJob("a")), bounded(10, newJob("a"))}
		full := backend.QueueFullError{Index: 3, Name: "a", Waiting: 10, MaxPending: 10}
		var stored, free atomic.Int32
		e.atOnce(8, func(i int, b backend.Backend) {
			for n := range 4 {
				if (i+n)%4 == 0 {
					// No bound stops it, and the bound of others stops none of it.
					if _, err := b.Push(e.ctx, []backend.NewJob{newJob("b"), bounded(1000, newJob("c"))}); err != nil {
						e.Errorf("Push of another name: %v", err)
					}
					free.Add(1)
					continue
				}
				pushed, err := b.Push(e.ctx, batch)
				if err == nil {
					stored.Add(1)
					for n := 1; n < len(pushed); n++ {
						if pushed[n].ID <= pushed[n-1].ID {
							e.Errorf("Push = %v, want IDs that ascend", pushed)
						}
					}
				} else if f, ok := errors.AsType[*backend.QueueFullError](err); !ok || *f != full {
					e.Errorf("Push = %v, want %v", err, &full)
				}
			}
		})
		if stored.Load() != 3 {
			e.Errorf("%d batches were stored, want 3", stored.Load())
		}
		e.wantCounts(fmt.Sprintf("a pending=9 b pending=%d c pending=%d", 6+free.Load(), free.Load()))
	},
}, {
	name:  "limit/max-pending-invalid",
	needs: backend.FieldMaxPending,
	rule:  "a negative bound is refused with ErrInvalid",
	run: func(e *env) {
		if _, err := e.b.Push(e.ctx, []backend.NewJob{bounded(-1, newJob("a"))}); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("Push = %v, want ErrInvalid", err)
		}
	},
}, {
	name: "limit/max-running",
	rule: "at most MaxRunning jobs of a name run in all processes, and jobs of other names are claimed meanwhile",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 3})
		ids := e.push(e.b, "a", 10)
		b := e.push(e.b, "b", 1)
		one, two := e.worker(), e.worker()
		jobs := e.claim(e.b, one, 2, "a", "b")
		e.wantIDs("Claim", jobs, ids[:2]...)
		e.wantIDs("Claim by another", e.claim(e.other(), two, 10, "a", "b"), ids[2], b[0])
		e.wantIDs("Claim at the limit", e.claim(e.b, one, 10, "a"))
		e.complete(e.b, jobs[0].Lease)
		e.wantIDs("Claim after one is done", e.claim(e.other(), two, 10, "a"), ids[3])
		e.advance(e.unit / 10)
		e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndRetry})
		e.wantIDs("Claim after one is retried", e.claim(e.other(), two, 10, "a"), ids[4])
	},
}, {
	name: "limit/max-running-dead",
	rule: "the jobs of a dead worker count until they are rescued, and suspects count like other jobs",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 2})
		ids := e.push(e.b, "a", 3)
		e.claim(e.b, e.worker(), 2, "a")
		e.advance(2 * e.unit)
		e.wantIDs("Claim before reaping", e.claimAny(e.b, e.worker(), 10, "a"))
		e.reap(e.b, backend.ReapRequest{Expired: true})
		w := e.worker()
		e.wantIDs("Claim of a suspect", e.claimAny(e.b, w, 10, "a"), ids[0])
		e.wantIDs("Claim of others", e.claim(e.b, w, 10, "a"), ids[2])
		e.wantIDs("Claim of a suspect at the limit", e.claimAny(e.b, w, 10, "a"))
	},
}, {
	name: "limit/max-running-race",
	rule: "MaxRunning holds for any number of concurrent claims",
	run: func(e *env) {
		const most = 3
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			e.set(e.b, backend.Settings{Name: name, MaxRunning: most})
			e.push(e.b, name, 40)
			w := e.worker()
			var claimed atomic.Int32
			e.atOnce(8, func(_ int, b backend.Backend) {
				jobs, err := b.Claim(e.ctx, request(w, 2, name))
				if err != nil {
					e.Errorf("Claim: %v", err)
				}
				claimed.Add(int32(len(jobs)))
			})
			if n := int(claimed.Load()) + len(e.claim(e.b, w, 10, name)); n != most {
				e.Fatalf("%d jobs run, want %d", n, most)
			}
		}
	},
}, {
	name: "limit/rate",
	rule: "in any span of Per at most Rate jobs of a name are claimed, whatever became of them",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", Rate: 2, Per: 10 * e.unit})
		ids := e.push(e.b, "a", 20)
		w := e.worker()
		jobs := e.claim(e.b, w, 1, "a")
		e.wantIDs("the first claim", jobs, ids[0])
		e.complete(e.b, jobs[0].Lease)
		e.advance(6 * e.unit)
		jobs = e.claim(e.other(), w, 10, "a")
		e.wantIDs("the second claim", jobs, ids[1])
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndRelease})
		e.wantIDs("a third claim", e.claimAny(e.b, w, 10, "a"))
		e.advance(4*e.unit + e.unit/5)
		e.wantIDs("a claim after Per", e.claim(e.b, w, 10, "a"), ids[1])
		e.wantIDs("another claim after Per", e.claim(e.other(), w, 10, "a"))
		e.advance(6 * e.unit)
		e.wantIDs("a claim Per after the second", e.claim(e.b, w, 10, "a"), ids[2])
		e.advance(40 * e.unit)
		e.wantIDs("a claim after a pause", e.claim(e.b, w, 10, "a"), ids[3:5]...)
		e.wantIDs("another claim after a pause", e.claim(e.b, w, 10, "a"))
	},
}, {
	name: "limit/rate-set",
	rule: "setting a rate again, as each worker does when it starts, forgets no claim, and a change applies at once",
	run: func(e *env) {
		rate := backend.Settings{Name: "a", Rate: 3, Per: span}
		e.set(e.b, rate)
		ids := e.push(e.b, "a", 20)
		w := e.worker()
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"), ids[:3]...)
		e.set(e.other(), rate)
		e.wantIDs("Claim after Set", e.claim(e.b, w, 10, "a"))
		rate.Rate = 5
		e.set(e.other(), rate)
		e.wantIDs("Claim at a higher rate", e.claim(e.b, w, 10, "a"), ids[3:5]...)
		e.set(e.other(), backend.Settings{Name: "a"})
		e.wantIDs("Claim without a rate", e.claim(e.b, w, 10, "a"), ids[5:15]...)
	},
}, {
	name: "limit/rate-race",
	rule: "a rate holds for any number of concurrent claims",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", Rate: 5, Per: span})
		e.push(e.b, "a", 40)
		w := e.worker()
		var claimed atomic.Int32
		e.atOnce(8, func(_ int, b backend.Backend) {
			jobs, err := b.Claim(e.ctx, request(w, 2, "a"))
			if err != nil {
				e.Errorf("Claim: %v", err)
			}
			claimed.Add(int32(len(jobs)))
		})
		if n := claimed.Load() + int32(len(e.claim(e.b, w, 10, "a"))); n != 5 {
			e.Errorf("%d jobs were claimed, want 5", n)
		}
	},
}, {
	name: "limit/rate-clock-back",
	rule: "after the clock was set back, a rate still counts the claims before, for at most Per",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("the store's clock cannot be turned back")
		}
		e.set(e.b, backend.Settings{Name: "a", Rate: 1, Per: e.unit})
		ids := e.push(e.b, "a", 2)
		w := e.worker()
		e.wantIDs("Claim", e.claim(e.b, w, 1, "a"), ids[0])
		e.store.Advance(-time.Hour)
		e.wantIDs("Claim when the clock has gone back", e.claim(e.b, w, 1, "a"))
		e.store.Advance(e.unit + e.unit/10)
		e.wantIDs("Claim after Per", e.claim(e.b, w, 1, "a"), ids[1])
	},
}, {
	name: "claim/ahead",
	rule: "a claim returns no more jobs of limited names than will start at once",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 100}, backend.Settings{Name: "b", Rate: 100, Per: span})
		a, b, c := e.push(e.b, "a", 5), e.push(e.b, "b", 5), e.push(e.b, "c", 5)
		w := e.worker()
		req := request(w, 8, "c", "b", "a")
		req.Prefetch = 5
		e.wantIDs("Claim of 8, 5 of them ahead", e.claimRequest(e.b, req), a[0], a[1], a[2], c[0], c[1], c[2], c[3], c[4])
		e.wantIDs("Claim of 8, 5 of them ahead", e.claimRequest(e.b, req), a[3], a[4], b[0])
		other := e.push(e.b, "c", 1)
		req.Prefetch = 8
		e.wantIDs("Claim of 8, all of them ahead", e.claimRequest(e.b, req), other...)
		req.Prefetch = 0
		e.wantIDs("Claim of 8", e.claimRequest(e.b, req), b[1:]...)
	},
}, {
	name: "claim/caps",
	rule: "a claim returns no more jobs of a name than its MaxPerName",
	run: func(e *env) {
		a, b, c := e.push(e.b, "a", 5), e.push(e.b, "b", 5), e.push(e.b, "c", 2)
		w := e.worker()
		req := request(w, 100, "a", "b", "c")
		req.MaxPerName = map[string]int{"a": 2, "b": 0}
		e.wantIDs("Claim", e.claimRequest(e.b, req), a[0], a[1], c[0], c[1])
		req.MaxPerName = map[string]int{"a": 100}
		req.Limit = 4
		e.wantIDs("Claim", e.claimRequest(e.b, req), a[2], a[3], a[4], b[0])
		e.crash(e.b)
		req.Suspects, req.MaxPerName = true, map[string]int{"a": 0, "b": 0, "c": 1}
		req.Worker = e.worker()
		e.wantIDs("Claim of a suspect", e.claimRequest(e.b, req), c[0])
		req.MaxPerName["c"] = 0
		e.wantIDs("Claim of no suspect", e.claimRequest(e.b, req))
	},
}}
