package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// maxSpurious is how often a Wait may return early before a case fails.
const maxSpurious = 5

// A waiter is a call of Wait.
type waiter struct {
	start    func()
	returned chan error
	early    int // how often Wait returned early
}

// waiting calls Wait.
func (e *env) waiting(b backend.Backend, ctx context.Context, req backend.ClaimRequest) *waiter {
	store := capability[backend.Waiter](e, b)
	w := &waiter{returned: make(chan error, 1)}
	w.start = func() { go func() { w.returned <- store.Wait(ctx, req) }() }
	w.start()
	return w
}

// wantWake fails unless Wait returns soon.
func (e *env) wantWake(what string, w *waiter) {
	e.Helper()
	select {
	case err := <-w.returned:
		if err != nil {
			e.Errorf("%s: Wait returned %v", what, err)
		}
	case <-time.After(20 * time.Second):
		e.Fatalf("%s: Wait does not return", what)
	}
}

// wantAsleep fails if Wait has returned an error, or returns early too often.
func (e *env) wantAsleep(what string, w *waiter) {
	e.Helper()
	for end := time.After(20 * time.Millisecond); ; { // there is nothing else to wait for
		select {
		case err := <-w.returned:
			if w.early++; err != nil || w.early > maxSpurious {
				e.Fatalf("%s: Wait returned %v, early for the %d. time", what, err, w.early)
			}
			w.start()
		case <-end:
			return
		}
	}
}

var waitCases = []testCase{{
	name: "wait/ready",
	rule: "Wait returns at once if there is work",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		e.wantWake("with a pending job", e.waiting(e.b, e.ctx, request(e.worker(), 1, "b", "a")))
	},
}, {
	name: "wait/push",
	rule: "Wait returns after a push by this process or another",
	run: func(e *env) {
		for _, pusher := range []backend.Backend{e.b, e.store.Open(e)} {
			c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
			e.wantAsleep("without work", c)
			e.push(pusher, "a", 1)
			e.wantWake("after a push", c)
			e.complete(e.b, e.claim1(e.b, e.worker(), "a").Lease)
		}
	},
}, {
	name: "wait/handed-back",
	rule: "Wait returns when another process releases or rescues a job",
	run: func(e *env) {
		other := e.store.Open(e)
		e.push(e.b, "a", 1)
		j := e.claim1(other, e.worker(), "a")
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
		e.wantAsleep("while the job runs", c)
		e.fail(other, backend.Failure{Lease: j.Lease, Ending: backend.EndRelease})
		e.wantWake("after the release", c)
		e.claim1(other, e.worker(), "a")
		req := request(e.worker(), 1, "a")
		req.Suspects = true
		c = e.waiting(e.b, e.ctx, req)
		e.crash(other)
		e.wantWake("after the rescue", c)
	},
}, {
	name: "wait/due",
	rule: "Wait returns when a scheduled job is due",
	run: func(e *env) {
		job := newJob("a")
		job.Delay = e.unit
		e.pushJobs(e.b, job)
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
		e.wantAsleep("before the time", c)
		e.advance(e.unit)
		e.wantWake("at the time", c)
	},
}, {
	name: "wait/suspect",
	rule: "Wait returns for a suspect only if the claim requests suspects",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		req := request(e.worker(), 1, "a")
		e.wantAsleep("without suspects", e.waiting(e.b, e.ctx, req))
		req.Suspects = true
		e.wantWake("for the suspect", e.waiting(e.b, e.ctx, req))
	},
}, {
	name: "wait/paused",
	rule: "Wait ignores the jobs of a paused name, and returns when any process resumes it",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		for _, name := range []string{"a", ""} {
			for _, resumer := range []backend.Backend{e.b, e.other()} {
				e.pause(e.other(), name, true)
				c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
				e.wantAsleep("while it is paused", c)
				e.pause(resumer, name, false)
				e.wantWake("after Resume", c)
			}
		}
		e.pause(e.b, "a", true)
		e.pushJobs(e.b, after(e.unit, newJob("a")))
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
		e.advance(2 * e.unit)
		e.wantAsleep("for a due job of a paused name", c)
		e.push(e.b, "a", 1)
		e.wantAsleep("for a new job of a paused name", c)
		e.pause(e.b, "a", false)
		e.wantWake("after Resume", c)
	},
}, {
	name: "wait/max-running",
	rule: "Wait ignores the jobs of a name at its limit, and returns when any process frees a place or raises the limit",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 1})
		e.push(e.b, "a", 3)
		for _, way := range []way{complete, ending("fail", backend.EndFailed, 0)} {
			w := e.worker()
			j := e.claim1(e.other(), w, "a")
			c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
			e.wantAsleep("at the limit", c)
			way.take(e, w, j)
			e.wantWake("after "+way.name, c)
		}
		e.claim1(e.other(), e.worker(), "a")
		e.push(e.b, "a", 1)
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
		e.wantAsleep("at the limit", c)
		e.set(e.other(), backend.Settings{Name: "a", MaxRunning: 2})
		e.wantWake("after Set", c)
	},
}, {
	name: "wait/rate",
	rule: "Wait ignores the jobs of a name at its rate, and returns when the rate allows the next claim",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", Rate: 1, Per: 4 * e.unit})
		e.push(e.b, "a", 2)
		w := e.worker()
		e.claim1(e.b, w, "a")
		c := e.waiting(e.b, e.ctx, request(w, 1, "a"))
		e.wantAsleep("at the rate", c)
		e.advance(4*e.unit + e.unit/10)
		e.wantWake("after Per", c)
		if jobs := e.claim(e.b, w, 5, "a"); len(jobs) != 1 {
			e.Errorf("Claim after Wait returned %d jobs, want 1", len(jobs))
		}
	},
}, {
	name: "wait/cap",
	rule: "Wait ignores the jobs of a name with a MaxPerName of zero",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		req := request(e.worker(), 1, "a", "b")
		req.MaxPerName = map[string]int{"a": 0, "b": 1}
		c := e.waiting(e.b, e.ctx, req)
		e.wantAsleep("for a job with a cap of zero", c)
		e.push(e.other(), "b", 1)
		e.wantWake("for another", c)
	},
}, {
	name: "wait/ahead",
	rule: "Wait ignores the jobs of a limited name if none would start at once",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 5})
		e.push(e.b, "a", 1)
		req := request(e.worker(), 1, "a", "b")
		req.Prefetch = 1
		c := e.waiting(e.b, e.ctx, req)
		e.wantAsleep("for a job that would be kept", c)
		e.push(e.other(), "b", 1)
		e.wantWake("for another", c)
	},
}, {
	name: "wait/blocked",
	rule: "Wait ignores a blocked job, and returns when it is unblocked",
	run: func(e *env) {
		e.pushJobs(e.b, serialJob("a", "k"), serialJob("a", "k"))
		j := e.claim1(e.b, e.worker(), "a")
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "a"))
		e.wantAsleep("while it is blocked", c)
		e.complete(e.other(), j.Lease)
		e.wantWake("after the one before", c)
	},
}, {
	name: "wait/retried",
	rule: "Wait returns when an operator retries a job",
	run: func(e *env) {
		ids := e.pushJobs(e.b, newJob("a"), after(90*e.unit, newJob("b")))
		e.complete(e.b, e.claim1(e.b, e.worker(), "a").Lease)
		for _, id := range ids {
			name := e.get(id).Name
			c := e.waiting(e.other(), e.ctx, request(e.worker(), 1, name))
			e.wantAsleep("before", c)
			e.wantAffected("Retry", backend.OpRetry, []int64{id}, id)
			e.wantWake("after Retry", c)
		}
	},
}, {
	name: "wait/context",
	rule: "Wait ends with its context",
	run: func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		c := e.waiting(e.b, ctx, request(e.worker(), 1, "a"))
		cancel()
		for range maxSpurious {
			err := <-c.returned
			if errors.Is(err, context.Canceled) {
				return
			}
			if err != nil {
				break
			}
			c.start()
		}
		e.Errorf("Wait does not return the error of its context")
	},
}}
