package conformance

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

var uniqueCases = []testCase{{
	name: "unique/taken",
	rule: "a push whose unique key is taken stores nothing and returns the ID of the job that has it; each name has its own keys",
	run: func(e *env) {
		job := uniqueJob("a", backend.Unique{Key: "k"})
		id := e.wantNew("the first", job)
		e.wantDuplicate("the second", job, id)
		e.wantNew("another key", uniqueJob("a", backend.Unique{Key: "K"}))
		e.wantNew("another name", uniqueJob("b", backend.Unique{Key: "k"}))
		e.push(e.b, "a", 2) // no key is no key
		e.wantCounts("a pending=4 b pending=1")
		if info := e.get(id); info.UniqueKey != "k" {
			e.Errorf("the job's key is %q", info.UniqueKey)
		}
	},
}, {
	name: "unique/batch",
	rule: "in one batch the second task with a key is a duplicate of the first",
	run: func(e *env) {
		job := uniqueJob("a", backend.Unique{Key: "k"})
		pushed, err := e.b.Push(e.ctx, []backend.NewJob{newJob("a"), job, newJob("a"), job, job})
		if err != nil || len(pushed) != 5 {
			e.Fatalf("Push = %v, %v", pushed, err)
		}
		first := pushed[1].ID
		for i, p := range pushed {
			if p.Duplicate != (i > 2) || (p.ID == first) != (i == 1 || i > 2) {
				e.Errorf("Push = %v", pushed)
			}
		}
		e.wantCounts("a pending=3")
	},
}, {
	name: "unique/race",
	rule: "of concurrent pushes with one key, by any number of processes, exactly one stores a job, and all return its ID",
	run: func(e *env) {
		const rounds, pushers = 20, 8
		for round := range rounds {
			job := uniqueJob("a", backend.Unique{Key: fmt.Sprint("key", round)})
			var mu sync.Mutex
			ids, stored := map[int64]bool{}, 0
			e.atOnce(pushers, func(_ int, b backend.Backend) {
				pushed, err := b.Push(e.ctx, []backend.NewJob{job})
				if err != nil {
					e.Errorf("Push: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[pushed[0].ID] = true
				if !pushed[0].Duplicate {
					stored++
				}
			})
			if len(ids) != 1 || stored != 1 {
				e.Fatalf("%d pushes stored a job, and they returned %d IDs", stored, len(ids))
			}
		}
		e.wantCounts(fmt.Sprintf("a pending=%d", rounds))
	},
}, {
	name: "unique/one-live",
	rule: "no read shows two unfinished jobs with one unique key, while jobs are pushed and finished",
	run: func(e *env) {
		const pushers, each = 4, 30
		job := uniqueJob("a", backend.Unique{Key: "k"})
		w := e.worker()
		stop := make(chan struct{})
		var watch sync.WaitGroup
		look := func() bool {
			page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{"a"}, Key: "k"}, Limit: 1000})
			live := 0
			for _, j := range page.Jobs {
				if !j.State.Terminal() {
					live++
				}
			}
			if err != nil || live > 1 {
				e.Errorf("List shows %d unfinished jobs, %v", live, err)
			}
			return err == nil && live <= 1
		}
		watch.Go(func() {
			defer e.recoverShort()
			for look() {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		e.atOnce(pushers+2, func(i int, b backend.Backend) {
			for range each {
				if i < pushers {
					if _, err := b.Push(e.ctx, []backend.NewJob{job}); err != nil {
						e.Errorf("Push: %v", err)
					}
					continue
				}
				jobs, err := b.Claim(e.ctx, request(w, 5, "a"))
				if err != nil || len(jobs) > 1 {
					e.Errorf("Claim = %d jobs, %v; want at most one", len(jobs), err)
				}
				for range 10 {
					runtime.Gosched()
				}
				for _, j := range jobs {
					if _, err := b.Complete(e.ctx, []backend.Completion{{Lease: j.Lease}}); err != nil {
						e.Errorf("Complete: %v", err)
					}
				}
			}
		})
		close(stop)
		watch.Wait()
		look() // at least once
	},
}, {
	name: "unique/until-finished",
	rule: "a unique key is kept while the job waits, runs and waits again, and given back however the job ends",
	run: func(e *env) {
		for _, end := range out {
			job := uniqueJob(end.job(), backend.Unique{Key: "k"})
			id := e.wantNew("the first", after(e.unit, job))
			e.wantDuplicate("scheduled", job, id)
			e.advance(e.unit)
			e.reap(e.b, backend.ReapRequest{})
			e.wantDuplicate("pending", job, id)
			w := e.worker()
			j := e.claim1(e.b, w, job.Name)
			e.wantDuplicate("running", job, id)
			ending("retry", backend.EndRetry, 1).take(e, w, j)
			e.wantDuplicate("retrying", job, id)
			e.advance(e.unit)
			j = e.claim1(e.b, w, job.Name)
			end.take(e, w, j)
			e.wantNew("after "+end.name, job)
		}
	},
}, {
	name: "unique/until-started",
	rule: "a key with the scope UntilStarted is given back when the job is claimed",
	run: func(e *env) {
		job := uniqueJob("a", backend.Unique{Key: "k", Scope: backend.UntilStarted})
		id := e.wantNew("the first", job)
		e.wantDuplicate("pending", job, id)
		w := e.worker()
		first := e.claim1(e.b, w, "a")
		second := e.wantNew("running", job)
		e.wantDuplicate("the second pending", job, second)
		e.complete(e.b, first.Lease) // gives nothing back that another has
		e.wantDuplicate("the first done", job, second)
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"), second)
	},
}, {
	name: "unique/retaken",
	rule: "a job that waits again takes the key again that it had given back",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) {
				continue
			}
			job := uniqueJob(way.job(), backend.Unique{Key: "k", Scope: backend.UntilStarted})
			id := e.wantNew("the first", job)
			w := e.worker()
			j := e.claim1(e.b, w, job.Name)
			way.take(e, w, j)
			if state := e.state(id); !state.Waits() {
				e.Errorf("after %s the job is %v", way.name, state)
			}
			e.wantDuplicate("after "+way.name, job, id)
		}
	},
}, {
	name: "unique/superseded",
	rule: "a job that is to wait again while another job has its key is cancelled as superseded and does not run again",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) {
				continue
			}
			job := uniqueJob(way.job(), backend.Unique{Key: "k", Scope: backend.UntilStarted})
			id := e.wantNew("the first", job)
			w := e.worker()
			j := e.claim1(e.b, w, job.Name)
			second := e.wantNew("while the first runs", job)
			way.take(e, w, j)
			e.wantCancelled("after "+way.name, id, superseded(second))
			e.wantIDs("Claim after "+way.name, e.claim(e.b, e.worker(), 10, job.Name), second)
			e.advance(60 * e.unit)
			e.wantIDs("Claim later", e.claim(e.b, e.worker(), 10, job.Name))
			e.wantNew("when the second has started", job)
		}
	},
}, {
	name: "unique/latest",
	rule: "of two running jobs with one key that are to wait again, the one pushed later does, in whatever order they are settled",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) {
				continue
			}
			for _, reversed := range []bool{false, true} {
				job := uniqueJob(fmt.Sprint(way.job(), reversed), backend.Unique{Key: "k", Scope: backend.UntilStarted})
				w := e.worker()
				first := e.wantNew("the first", job)
				runs := []backend.Job{e.claim1(e.b, w, job.Name)}
				second := e.wantNew("while the first runs", job)
				w2 := e.worker()
				runs = append(runs, e.claim1(e.b, w2, job.Name))
				if reversed {
					way.take(e, w2, runs[1])
					way.take(e, w, runs[0])
				} else {
					way.take(e, w, runs[0])
					way.take(e, w2, runs[1])
				}
				e.wantCancelled("after "+way.name, first, superseded(second))
				if state := e.state(second); !state.Waits() {
					e.Errorf("after %s the job pushed later is %v", way.name, state)
				}
				e.wantDuplicate("after "+way.name, job, second)
			}
		}
	},
}, {
	name: "unique/latest-together",
	rule: "of two jobs of a dead worker with one key, the one pushed later waits again",
	run: func(e *env) {
		job := uniqueJob("a", backend.Unique{Key: "k", Scope: backend.UntilStarted})
		w := e.worker()
		first := e.wantNew("the first", job)
		e.claim1(e.b, w, "a")
		second := e.wantNew("while the first runs", job)
		e.claim1(e.b, w, "a")
		if r := e.reap(e.b, backend.ReapRequest{Dead: []int64{w.ID}}); r.Rescued != 2 {
			e.Errorf("Reap returned %+v, want 2 rescued", r)
		}
		e.wantCancelled("the first", first, superseded(second))
		e.wantState(second, backend.Pending)
		e.wantDuplicate("the second waits", job, second)
	},
}, {
	name: "unique/reject",
	rule: "Reject refuses the whole push and returns the index and the job that has the key",
	run: func(e *env) {
		id := e.wantNew("the first", uniqueJob("a", backend.Unique{Key: "k"}))
		reject := uniqueJob("a", backend.Unique{Key: "k", Conflict: backend.Reject})
		e.wantRejected([]backend.NewJob{newJob("b"), uniqueJob("b", backend.Unique{Key: "free"}), reject, newJob("b")}, 2, id)
		e.wantCounts("a pending=1")
		e.wantNew("a key of the refused push", uniqueJob("b", backend.Unique{Key: "free"}))
		reject.Unique.Key = "twice"
		e.wantRejected([]backend.NewJob{reject, newJob("a"), reject}, 2, 0)
		e.wantCounts("a pending=1 b pending=1")
		e.wantNew("Reject of a free key", reject)
	},
}, {
	name: "unique/invalid",
	rule: "a batch with a unique key that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		for _, u := range []backend.Unique{
			{Key: strings.Repeat("x", 256)}, {Key: "\xff"}, {Key: "\x00"}, {Scope: backend.UntilStarted}, {For: 1},
			{Key: "k", Scope: 9}, {Key: "k", Conflict: 9}, {Key: "k", For: -1}, {Key: "k", Conflict: backend.Replace},
			{Key: "k", Scope: backend.UntilStarted, For: 1, Conflict: backend.Replace},
		} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{newJob("a"), uniqueJob("a", u)}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Push of %+v = %v, want ErrInvalid", u, err)
			}
		}
		e.wantCounts("")
		e.wantNew("the longest key", uniqueJob("a", backend.Unique{Key: strings.Repeat("x", 255)}))
	},
}}

// wantRejected pushes jobs of which the one at index has a key that id has.
func (e *env) wantRejected(jobs []backend.NewJob, index int, id int64) {
	e.Helper()
	_, err := e.b.Push(e.ctx, jobs)
	want := backend.DuplicateError{Index: index, Name: jobs[index].Name, Key: jobs[index].Unique.Key, ID: id}
	if d, ok := errors.AsType[*backend.DuplicateError](err); !ok || *d != want || !errors.Is(err, backend.ErrDuplicate) {
		e.Errorf("Push = %v, want %v", err, &want)
	}
}
