package conformance

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// A gateWay is a way in which the one member of a gate ends, and the counts of the gate then.
type gateWay struct {
	name string
	job  backend.NewJob
	take func(e *env, id int64)
	want string
}

// settled is a gateWay by a settlement.
func settled(w way, want string) gateWay {
	return gateWay{w.name, newJob("way " + w.name), func(e *env, _ int64) {
		e.Helper()
		worker := e.worker()
		w.take(e, worker, e.claim1(e.b, worker, "way "+w.name))
	}, want}
}

const (
	oneDone      = "1/0 1 0 0 ended"
	oneFailed    = "1/0 0 1 0 ended"
	oneCancelled = "1/0 0 0 1 ended"
)

// gateWays are the ways of which the store can do all.
func (e *env) gateWays() (all []gateWay) {
	operate := func(op backend.Op) func(*env, int64) {
		return func(e *env, id int64) { e.operate(op, backend.Filter{IDs: []int64{id}}) }
	}
	cancelRunning := func(then func(e *env, w backend.Worker, j backend.Job)) func(*env, int64) {
		return func(e *env, id int64) {
			w := e.worker()
			j := e.claim1(e.b, w, e.get(id).Name)
			e.operate(backend.OpCancel, backend.Filter{IDs: []int64{id}})
			then(e, w, j)
		}
	}
	superseding := uniqueJob("superseded", backend.Unique{Key: "k", Scope: backend.UntilStarted})
	serial := serialJob("serial", "k")
	for _, w := range []gateWay{
		settled(complete, oneDone),
		settled(ending("fail", backend.EndFailed, 0), oneFailed),
		settled(ending("cancel", backend.EndCancelled, 0), oneCancelled),
		{"cancelled by an operator", newJob("op"), operate(backend.OpCancel), oneCancelled},
		{"deleted by an operator", newJob("op"), operate(backend.OpDelete), oneCancelled},
		{"deleted with a serial key", serial, operate(backend.OpDelete), oneCancelled},
		{"completed with a serial key", serial, func(e *env, _ int64) { e.finish("serial") }, oneDone},
		{"cancelled while it is scheduled", after(1000*e.unit, newJob("op")), operate(backend.OpCancel), oneCancelled},
		{"cancelled and released", newJob("op"), cancelRunning(ending("release", backend.EndRelease, 0).take), oneCancelled},
		{"cancelled and retried", newJob("op"), cancelRunning(ending("retry", backend.EndRetry, 0).take), oneCancelled},
		{"cancelled and rescued", newJob("op"), cancelRunning(rescue.take), oneCancelled},
		{"cancelled, and its worker leaves", newJob("op"), cancelRunning(leave.take), oneCancelled},
		{"cancelled and completed", newJob("op"), cancelRunning(complete.take), oneDone},
		{"expired in Reap", expiring(e.unit, newJob("expires")), func(e *env, _ int64) {
			e.advance(2 * e.unit)
			e.reap(e.b, backend.ReapRequest{})
		}, oneCancelled},
		{"expired in Claim", expiring(e.unit, newJob("expires")), func(e *env, _ int64) {
			e.advance(2 * e.unit)
			e.claimUntil(e.b, e.worker(), "expires")
		}, oneCancelled},
		{"superseded", superseding, func(e *env, _ int64) {
			j := e.claim1(e.b, e.worker(), "superseded")
			e.wantNew("started", superseding)
			e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndSnooze})
			e.finish("superseded")
		}, oneCancelled},
		{"crashed", newJob("crashes"), func(e *env, _ int64) {
			e.set(e.b, backend.Settings{Name: "crashes", MaxCrashes: 1})
			for range 2 {
				e.claim1(e.b, e.worker(), "crashes")
				e.crash(e.b)
			}
		}, oneFailed},
	} {
		lacks := check.JobFields(&w.job) &^ backend.Describe(e.b).Fields
		if w.name == "crashed" {
			lacks |= backend.FieldMaxCrashes &^ backend.Describe(e.b).Fields
		}
		if lacks == 0 {
			all = append(all, w)
		}
	}
	return all
}
