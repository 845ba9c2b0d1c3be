package conformance

import (
	"errors"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var livenessCases = []testCase{{
	name: "heartbeat/renews",
	rule: "Heartbeat renews the worker's row",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		e.claim1(e.b, w, "a")
		for range 5 {
			e.advance(e.unit * 2 / 3)
			if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w}); err != nil {
				e.Fatalf("Heartbeat: %v", err)
			}
			e.reap(e.b, backend.ReapRequest{Expired: true})
		}
		e.wantState(id, backend.Running)
	},
}, {
	name: "heartbeat/leases",
	rule: "Heartbeat returns the leases stored under the worker",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		e.push(e.b, "a", 5)
		w := e.worker()
		jobs := e.claim(e.b, w, 3, "a")
		e.claim(e.b, e.worker(), 1, "a")
		e.complete(e.b, jobs[1].Lease)
		r, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w})
		want := []backend.Lease{jobs[0].Lease, jobs[2].Lease}
		if err != nil || !slices.Equal(r.Leases, want) {
			e.Errorf("Heartbeat = %v, %v; want %v", r.Leases, err, want)
		}
		if r.Now.IsZero() {
			e.Errorf("Heartbeat returns no Now")
		}
	},
}, {
	name: "heartbeat/unregistered",
	rule: "Heartbeat of a worker without a row returns ErrWorkerGone",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: e.worker()}); !errors.Is(err, backend.ErrWorkerGone) {
			e.Errorf("Heartbeat = %v, want ErrWorkerGone", err)
		}
	},
}, {
	name: "heartbeat/leave",
	rule: "a worker that leaves releases its jobs, not as suspects, and its row is deleted",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		ids := e.push(e.b, "a", 2)
		w := e.worker()
		jobs := e.claim(e.b, w, 2, "a")
		if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
			e.Fatalf("Heartbeat: %v", err)
		}
		e.wantLost("Complete after leaving", e.complete(e.b, jobs[0].Lease), jobs[0].Lease)
		again := e.claim(e.b, e.worker(), 10, "a")
		e.wantIDs("Claim by another", again, ids...)
		for _, j := range again {
			if j.Suspect || j.Attempt != 1 {
				e.Errorf("Claim returned %+v", j)
			}
		}
		if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w}); !errors.Is(err, backend.ErrWorkerGone) {
			e.Errorf("Heartbeat after leaving = %v, want ErrWorkerGone", err)
		}
	},
}, {
	name: "heartbeat/leave-returns",
	rule: "a Heartbeat with Leave returns the leases that the worker held, and which of their jobs an operator has cancelled; they are released or cancelled",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		e.push(e.b, "a", 2)
		w := e.worker()
		jobs := e.claim(e.b, w, 2, "a")
		e.wantAffected("Cancel", backend.OpCancel, []int64{jobs[1].ID}, jobs[1].ID)
		r, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Leave: true})
		if err != nil || !slices.Equal(r.Leases, []backend.Lease{jobs[0].Lease, jobs[1].Lease}) || !slices.Equal(r.Cancel, []backend.Lease{jobs[1].Lease}) {
			e.Errorf("Heartbeat with Leave = %+v, %v; want the leases of %+v", r, err, jobs)
		}
		e.wantState(jobs[0].ID, backend.Pending)
		e.wantState(jobs[1].ID, backend.Cancelled)
	},
}, {
	name: "heartbeat/lease",
	rule: "a Claim and a Heartbeat store the Lease of their request: from then on the worker counts as alive for that time",
	run: func(e *env) {
		renewals := map[string]func(backend.Worker) error{"Claim": func(w backend.Worker) error {
			_, err := e.b.Claim(e.ctx, backend.ClaimRequest{Worker: w})
			return err
		}}
		if heart, ok := e.b.(backend.Heartbeater); ok {
			renewals["Heartbeat"] = func(w backend.Worker) error {
				_, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w})
				return err
			}
		}
		for what, renew := range renewals {
			w := e.worker()
			id := e.push(e.b, what, 1)[0]
			e.claim1(e.b, w, what)
			for _, lease := range []time.Duration{4 * e.unit, e.unit} {
				if w.Lease = lease; renew(w) != nil {
					e.Fatalf("%s does not renew", what)
				}
				e.wantState(id, backend.Running)
				e.advance(2 * e.unit)
				e.reap(e.b, backend.ReapRequest{Expired: true})
			}
			e.wantState(id, backend.Pending)
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
}}
