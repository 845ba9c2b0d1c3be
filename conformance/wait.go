package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// waiting calls Wait and returns a channel with what it returned.
func (e *env) waiting(b backend.Backend, ctx context.Context, req backend.ClaimRequest) <-chan error {
	w := capability[backend.Waiter](e, b)
	c := make(chan error, 1)
	go func() { c <- w.Wait(ctx, req) }()
	return c
}

// wantWake fails unless Wait returns soon.
func (e *env) wantWake(what string, c <-chan error) {
	e.Helper()
	select {
	case err := <-c:
		if err != nil {
			e.Errorf("%s: Wait returned %v", what, err)
		}
	case <-time.After(20 * time.Second):
		e.Fatalf("%s: Wait does not return", what)
	}
}

// wantAsleep fails if Wait has returned already.
func (e *env) wantAsleep(what string, c <-chan error) {
	e.Helper()
	select {
	case err := <-c:
		e.Errorf("%s: Wait returned %v", what, err)
	case <-time.After(20 * time.Millisecond): // there is nothing else to wait for
	}
}

var waitCases = []testCase{{
	name: "wait/ready",
	rule: "Wait returns at once when there is work",
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
	rule: "Wait returns when another process hands a job back, or has one rescued",
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
	rule: "Wait returns when a scheduled job's time comes",
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
	rule: "Wait returns for a suspect only if the claim would take one",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		req := request(e.worker(), 1, "a")
		ctx, cancel := context.WithTimeout(e.ctx, 300*time.Millisecond)
		defer cancel()
		if err := <-e.waiting(e.b, ctx, req); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("Wait without suspects returned %v", err)
		}
		req.Suspects = true
		e.wantWake("for the suspect", e.waiting(e.b, e.ctx, req))
	},
}, {
	name: "wait/context",
	rule: "Wait ends with its context",
	run: func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		c := e.waiting(e.b, ctx, request(e.worker(), 1, "a"))
		cancel()
		if err := <-c; !errors.Is(err, context.Canceled) {
			e.Errorf("Wait returned %v", err)
		}
	},
}}
