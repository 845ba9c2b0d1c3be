package conformance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

var claimCases = []testCase{{
	name: "claim/order",
	rule: "new jobs are claimed by priority, higher first, then in the order of their pushes, over all requested names together",
	run: func(e *env) {
		type key struct {
			id       int64
			priority int16
		}
		var want []key
		names := []string{"a", "b", "c", "d", "e"}
		for i := range 200 {
			j := newJob(names[i*i%5])
			j.Priority = int16(i*7%3 - 1)
			want = append(want, key{e.pushJobs(e.b, j)[0], j.Priority})
		}
		slices.SortFunc(want, func(x, y key) int {
			return cmp.Or(cmp.Compare(y.priority, x.priority), cmp.Compare(x.id, y.id))
		})
		w := e.worker()
		for _, limit := range []int{1, 2, 3, 50, 7, 500} {
			n := min(limit, len(want))
			ids := make([]int64, n)
			for i := range n {
				ids[i] = want[i].id
			}
			want = want[n:]
			e.wantIDs(fmt.Sprintf("Claim of %d", limit), e.claim(e.b, w, limit, names...), ids...)
		}
	},
}, {
	name: "claim/order-one-name",
	rule: "new jobs of one name are claimed by priority, then in the order of their pushes",
	run: func(e *env) {
		var low, high []int64
		for i := range 20 {
			j := newJob("a")
			j.Priority = int16(i % 2)
			if id := e.pushJobs(e.b, j)[0]; i%2 == 1 {
				high = append(high, id)
			} else {
				low = append(low, id)
			}
		}
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 15, "a"), slices.Concat(high, low[:5])...)
	},
}, {
	name: "claim/scattered",
	rule: "a claim holds each of its jobs until that one is settled or rescued, in whatever order jobs of several names and priorities were pushed",
	run: func(e *env) {
		for i := range 60 {
			j := newJob([]string{"a", "b", "c"}[i%3])
			j.Priority = int16(i * 7 % 5)
			e.pushJobs(e.b, j)
		}
		dies, lives := e.worker(), e.worker()
		held := e.claim(e.b, dies, 24, "a", "b", "c")
		others := e.claim(e.b, lives, 12, "b", "c")
		if len(held) != 24 || len(others) != 12 {
			e.Fatalf("Claim returned %d and %d jobs, want 24 and 12", len(held), len(others))
		}
		var settled, left, running []backend.Lease
		for i, j := range held {
			if i%2 == 0 {
				settled = append(settled, j.Lease)
			} else {
				left = append(left, j.Lease)
			}
		}
		e.wantLost("Complete of every other job", e.complete(e.b, settled...))
		e.wantLost("the repeated Complete", e.complete(e.b, settled...))
		for _, j := range others {
			running = append(running, j.Lease)
		}
		for _, l := range left {
			if info := e.get(l.ID); info.State != backend.Running || info.Worker != dies.ID {
				e.Errorf("a job of the claim is %+v, want it running", info)
			}
		}
		r := e.reap(e.b, backend.ReapRequest{Dead: []int64{dies.ID}})
		if r.Rescued != len(left) {
			e.Errorf("Reap rescued %d jobs, want %d", r.Rescued, len(left))
		}
		e.wantLost("Complete after the rescue", e.complete(e.b, append(slices.Clone(left), running...)...), left...)
		for _, l := range left {
			e.wantState(l.ID, backend.Pending)
		}
	},
}, {
	name: "claim/names",
	rule: "a claim returns only jobs with a requested name",
	run: func(e *env) {
		e.push(e.b, "other", 3)
		ids := e.push(e.b, "mine", 2)
		w := e.worker()
		e.wantIDs("Claim of no names", e.claim(e.b, w, 10))
		e.wantIDs("Claim of an unknown name", e.claim(e.b, w, 10, "unknown"))
		e.wantIDs("Claim of one and an unknown name", e.claim(e.b, w, 10, "mine", "unknown"), ids...)
	},
}, {
	name: "claim/limit",
	rule: "a claim returns no more jobs than its limit",
	run: func(e *env) {
		ids := e.push(e.b, "a", 600)
		w := e.worker()
		at := 0
		for _, n := range []int{1, 5, 17, 65, 257, 300} {
			end := min(at+n, len(ids))
			e.wantIDs("Claim", e.claim(e.b, w, n, "a"), ids[at:end]...)
			at = end
		}
	},
}, {
	name: "claim/none",
	rule: "a claim that finds no job returns no error",
	run: func(e *env) {
		if jobs, err := e.b.Claim(e.ctx, request(e.worker(), 5, "a")); len(jobs) != 0 || err != nil {
			e.Errorf("Claim on an empty store = %v, %v", jobs, err)
		}
	},
}, {
	name: "claim/bytes",
	rule: "the payloads of a claim do not exceed MaxBytes together, but at least one job is returned",
	run: func(e *env) {
		for _, names := range [][]string{{"a"}, {"b", "a"}} {
			big := backend.NewJob{Name: "a", Payload: bytes.Repeat([]byte{1}, 1000), MaxAttempts: 1}
			ids := e.pushJobs(e.b, big, big, big, big)
			req := request(e.worker(), 10, names...)
			req.MaxBytes = 2500
			e.wantIDs("Claim of 2500 bytes", e.claimRequest(e.b, req), ids[:2]...)
			req.MaxBytes = 1
			e.wantIDs("Claim of 1 byte", e.claimRequest(e.b, req), ids[2])
			req.MaxBytes = 0
			e.wantIDs("Claim of the default", e.claimRequest(e.b, req), ids[3])
		}
	},
}, {
	name: "claim/bytes-default",
	rule: "without MaxBytes a claim's payloads are bounded by 8 MiB",
	run: func(e *env) {
		big := backend.NewJob{Name: "a", Payload: make([]byte, 3<<20), MaxAttempts: 1}
		ids := e.pushJobs(e.b, big, big, big)
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"), ids[:2]...)
	},
}, {
	name: "claim/exclusive",
	rule: "two claims never hold one job, not even in different processes",
	run: func(e *env) {
		const handles, claimers, jobs = 4, 3, 400
		names := []string{"a", "b"}
		ids := append(e.push(e.b, "a", jobs/2), e.push(e.b, "b", jobs/2)...)
		var mu sync.Mutex
		times := map[int64]int{}
		tokens := map[int64]bool{}
		var wg sync.WaitGroup
		for range handles {
			b, w := e.store.Open(e), e.worker()
			for range claimers {
				wg.Go(func() {
					defer e.recoverShort()
					for {
						got, err := b.Claim(e.ctx, request(w, 3, names...))
						if err != nil {
							e.Errorf("Claim: %v", err)
							return
						}
						if len(got) == 0 {
							return
						}
						mu.Lock()
						for _, j := range got {
							times[j.ID]++
							if tokens[j.Token] {
								e.Errorf("token %d was issued twice", j.Token)
							}
							tokens[j.Token] = true
						}
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		for _, id := range ids {
			if times[id] != 1 {
				e.Errorf("job %d was claimed %d times", id, times[id])
			}
		}
	},
}, {
	name: "claim/running",
	rule: "a running job is not claimed again by any worker before it is settled or rescued",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		w := e.worker()
		e.claim1(e.b, w, "a")
		e.wantIDs("Claim by the same worker", e.claimAny(e.b, w, 10, "a"))
		e.wantIDs("Claim by another", e.claimAny(e.store.Open(e), e.worker(), 10, "a"))
		e.advance(3 * e.unit)
		e.wantIDs("Claim after the lease's time", e.claimAny(e.b, e.worker(), 10, "a"))
	},
}, {
	name: "claim/unregistered",
	rule: "a claim of a worker without a row returns ErrWorkerGone and claims nothing",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		req := request(e.worker(), 1, "a")
		req.Register = false
		if jobs, err := e.b.Claim(e.ctx, req); len(jobs) > 0 || !errors.Is(err, backend.ErrWorkerGone) {
			e.Errorf("Claim = %v, %v; want ErrWorkerGone", jobs, err)
		}
		req.Register = true
		e.wantIDs("Claim that registers", e.claimRequest(e.b, req), id)
		req.Register = false
		e.wantIDs("Claim of the registered", e.claimRequest(e.b, req))
	},
}, {
	name: "claim/tokens-new",
	rule: "each claim of a job has a new token",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		w := e.worker()
		seen := map[int64]bool{}
		for range 20 {
			j := e.claim1(e.b, w, "a")
			if seen[j.Token] {
				e.Fatalf("token %d was issued twice", j.Token)
			}
			seen[j.Token] = true
			e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRelease})
		}
	},
}, {
	name: "claim/invalid",
	rule: "a claim that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		for what, spoil := range map[string]func(*backend.ClaimRequest){
			"no worker":      func(r *backend.ClaimRequest) { r.Worker.ID = 0 },
			"no lease":       func(r *backend.ClaimRequest) { r.Worker.Lease = 0 },
			"endless lease":  func(r *backend.ClaimRequest) { r.Worker.Lease = 1<<63 - 1 },
			"negative limit": func(r *backend.ClaimRequest) { r.Limit = -1 },
			"negative bytes": func(r *backend.ClaimRequest) { r.MaxBytes = -1 },
			"negative ahead": func(r *backend.ClaimRequest) { r.Prefetch = -1 },
			"all and more":   func(r *backend.ClaimRequest) { r.Prefetch = 2 },
			"an empty name":  func(r *backend.ClaimRequest) { r.Names = []string{"a", ""} },
		} {
			req := request(e.worker(), 1, "a")
			spoil(&req)
			if jobs, err := e.b.Claim(e.ctx, req); len(jobs) > 0 || !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Claim with %s = %v, %v; want ErrInvalid", what, jobs, err)
			}
		}
	},
}, {
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
				if _, err := setter.Set(e.ctx, 0, []backend.Settings{{Name: "a", MaxRunning: 100}}); err != nil {
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
}}
