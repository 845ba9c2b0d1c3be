package conformance

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// steps returns e.b as a StepStore, or skips the case.
func (e *env) steps() backend.StepStore { return capability[backend.StepStore](e, e.b) }

func (e *env) storeStep(l backend.Lease, name, result string) {
	e.Helper()
	if err := e.steps().StoreStep(e.ctx, nil, l, backend.Step{Name: name, Result: []byte(result)}); err != nil {
		e.Fatalf("StoreStep %s: %v", name, err)
	}
}

// wantSteps checks the steps of a job, given as "name=result" in order.
func (e *env) wantSteps(what string, id int64, want ...string) {
	e.Helper()
	steps, err := e.steps().Steps(e.ctx, id)
	var got []string
	for _, s := range steps {
		got = append(got, s.Name+"="+string(s.Result))
		if s.At.IsZero() {
			e.Errorf("%s: step %s has no time", what, s.Name)
		}
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		e.Errorf("%s: Steps = %q, %v; want %q", what, got, err, want)
	}
}

// sleep ends a run with EndSleep.
func (e *env) sleep(l backend.Lease, delay time.Duration, key backend.SignalKey) {
	e.Helper()
	e.wantLost("EndSleep", e.fail(e.b, backend.Failure{Lease: l, Ending: backend.EndSleep, Delay: delay, Signal: key}))
}

func (e *env) send(key backend.SignalKey, payload string) error {
	return e.steps().SendSignal(e.ctx, nil, backend.Signal{SignalKey: key, Payload: []byte(payload)})
}

func (e *env) wantSignal(key backend.SignalKey, want string) {
	e.Helper()
	s, err := e.steps().Signal(e.ctx, key)
	if err != nil || string(s.Payload) != want || s.At.IsZero() {
		e.Errorf("Signal %v = %+v, %v; want %q", key, s, err, want)
	}
}

var approval = backend.SignalKey{Name: "approval", Key: "order 7"}

var stepCases = []testCase{{
	name: "step/stored",
	rule: "steps are returned in the order in which they were first stored, with their bytes; a step stored again takes the result and keeps its place",
	run: func(e *env) {
		e.steps()
		id := e.push(e.b, "a", 1)[0]
		j := e.claim1(e.b, e.worker(), "a")
		if j.HasSteps {
			e.Error("a new job has steps")
		}
		e.wantSteps("before", id)
		e.storeStep(j.Lease, "b", "1")
		e.storeStep(j.Lease, "a", "")
		e.storeStep(j.Lease, "ä #3", "\x00\xff")
		e.storeStep(j.Lease, "b", "2")
		e.wantSteps("stored", id, "b=2", "a=", "ä #3=\x00\xff")
		e.wantSteps("of another job", id+1)
		for _, name := range []string{"", "\xff", "a\x00", fmt.Sprintf("%0256d", 1)} {
			if err := e.steps().StoreStep(e.ctx, nil, j.Lease, backend.Step{Name: name}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("StoreStep of %.20q = %v, want ErrInvalid", name, err)
			}
		}
	},
}, {
	name: "step/stale",
	rule: "a step of a run whose lease is not held is not stored",
	run: func(e *env) {
		e.steps()
		old, now := e.stale()
		wrong := backend.Lease{ID: now.ID, Token: now.Token + 1}
		e.storeStep(now.Lease, "a", "1")
		refused := func(leases ...backend.Lease) {
			e.Helper()
			for _, l := range leases {
				if err := e.steps().StoreStep(e.ctx, nil, l, backend.Step{Name: "b"}); !errors.Is(err, backend.ErrLeaseLost) {
					e.Errorf("StoreStep = %v, want ErrLeaseLost", err)
				}
			}
		}
		refused(old, wrong, backend.Lease{ID: now.ID + 1000, Token: now.Token})
		e.wantLost("Complete", e.complete(e.b, now.Lease))
		refused(old, wrong, now.Lease)
		e.wantSteps("afterwards", now.ID, "a=1")
	},
}, {
	name: "step/kept",
	rule: "steps stay when a job is retried, snoozed, released, rescued, failed and retried by an operator; a done job that is retried, and a deleted job, lose them",
	run: func(e *env) {
		e.steps()
		capability[backend.Operator](e, e.b)
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		next := func(what string) backend.Job {
			e.Helper()
			j := e.claim1(e.b, w, "a")
			if !j.HasSteps {
				e.Errorf("after it was %s the job has no steps", what)
			}
			e.wantSteps(what, id, "s=1")
			return j
		}
		j := e.claim1(e.b, w, "a")
		e.storeStep(j.Lease, "s", "1")
		for _, ending := range []backend.Ending{backend.EndRetry, backend.EndSnooze, backend.EndRelease, backend.EndSleep} {
			e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: ending}))
			j = next(fmt.Sprint("ended as ", ending))
		}
		e.crash(e.b)
		w = e.worker()
		j = next("rescued")
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed, Error: "x"}))
		e.wantSteps("failed", id, "s=1")
		e.wantAffected("Retry", backend.OpRetry, []int64{id}, id)
		j = next("retried")
		e.wantLost("Complete", e.complete(e.b, j.Lease))
		e.wantSteps("done", id, "s=1")
		e.wantAffected("Retry of the done job", backend.OpRetry, []int64{id}, id)
		e.wantSteps("retried when it was done", id)
		if j = e.claim1(e.b, w, "a"); j.HasSteps {
			e.Error("a done job that is retried has steps")
		}
		e.storeStep(j.Lease, "s", "1")
		e.wantLost("Complete", e.complete(e.b, j.Lease))
		e.wantAffected("Delete", backend.OpDelete, []int64{id}, id)
		e.wantSteps("deleted", id)
	},
}, {
	name: "step/from",
	rule: "a retry from a step deletes it and the steps stored after it, and leaves a job without the step alone",
	run: func(e *env) {
		e.steps()
		operator := capability[backend.Operator](e, e.b)
		ids := e.push(e.b, "a", 2)
		for _, j := range e.claim(e.b, e.worker(), 2, "a") {
			e.storeStep(j.Lease, "z", "1")
			if j.ID == ids[0] {
				e.storeStep(j.Lease, "m", "2")
				e.storeStep(j.Lease, "a", "3")
				e.storeStep(j.Lease, "z", "4")
			}
			e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed})
		}
		r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: ids}, FromStep: "m"})
		if err != nil || !reflect.DeepEqual(r.Affected, ids[:1]) {
			e.Errorf("Operate = %+v, %v; want job %d retried", r, err, ids[0])
		}
		e.wantState(ids[0], backend.Pending)
		e.wantState(ids[1], backend.Failed)
		e.wantSteps("retried", ids[0], "z=4")
		e.wantSteps("left alone", ids[1], "z=1")
		if _, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpCancel, FromStep: "m"}); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("a cancel from a step: %v, want ErrInvalid", err)
		}
	},
}, {
	name: "step/sleep",
	rule: "EndSleep stores the step with the end of the run, spends no attempt, and the job runs again after the delay",
	run: func(e *env) {
		e.steps()
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		f := backend.Failure{Lease: j.Lease, Ending: backend.EndSleep, Delay: e.unit, Step: backend.Step{Name: "nap", Result: []byte("x")}}
		for range 2 {
			e.wantLost("EndSleep", e.fail(e.b, f))
			e.wantState(id, backend.Scheduled)
			e.wantSteps("asleep", id, "nap=x")
		}
		e.wantIDs("Claim before the time", e.claim(e.b, w, 1, "a"))
		e.advance(e.unit + e.unit/10)
		j = e.claim1(e.b, w, "a")
		if j.Attempt != 1 || !j.HasSteps {
			e.Errorf("after the sleep the job is %+v, want attempt 1 and steps", j)
		}
		f = backend.Failure{Lease: j.Lease, Ending: backend.EndSnooze, Delay: e.unit, Step: backend.Step{Name: "nap"}}
		if _, err := e.b.Fail(e.ctx, []backend.Failure{f}); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("a snooze with a step: %v, want ErrInvalid", err)
		}
	},
}, {
	name:  "step/sleep-key",
	rule:  "a job that sleeps does not take again the unique key that it released when it started, and keeps one that it has until it is finished",
	needs: backend.FieldUnique,
	run: func(e *env) {
		e.steps()
		w := e.worker()
		key := backend.Unique{Key: "k", Scope: backend.UntilStarted}
		asleep := e.wantNew("the first", uniqueJob("a", key))
		j := e.claim1(e.b, w, "a")
		other := e.wantNew("while it runs", uniqueJob("a", key))
		e.sleep(j.Lease, e.unit, backend.SignalKey{})
		e.wantState(asleep, backend.Scheduled)
		e.wantState(other, backend.Pending)
		e.advance(e.unit + e.unit/10)
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"), other, asleep)

		kept := e.wantNew("until finished", uniqueJob("b", backend.Unique{Key: "k"}))
		j = e.claim1(e.b, w, "b")
		e.sleep(j.Lease, e.unit, backend.SignalKey{})
		e.wantDuplicate("while it sleeps", uniqueJob("b", backend.Unique{Key: "k"}), kept)
	},
}, {
	name: "signal/wakes",
	rule: "a signal makes the jobs that wait for it pending, and no others; it is sent once",
	run: func(e *env) {
		e.steps()
		w := e.worker()
		ids := e.push(e.b, "a", 4)
		jobs := e.claim(e.b, w, 4, "a")
		other := backend.SignalKey{Name: "approval", Key: "order 8"}
		e.sleep(jobs[0].Lease, e.unit, approval)
		e.sleep(jobs[1].Lease, e.unit, other)
		e.sleep(jobs[2].Lease, e.unit, approval)
		e.sleep(jobs[3].Lease, e.unit, backend.SignalKey{})
		if info := e.get(ids[0]); info.Waits != approval {
			e.Errorf("the job waits for %v, want %v", info.Waits, approval)
		}
		if _, err := e.steps().Signal(e.ctx, approval); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("Signal before it is sent = %v, want ErrNotFound", err)
		}
		if err := e.send(approval, "yes"); err != nil {
			e.Fatalf("SendSignal: %v", err)
		}
		if err := e.send(approval, "no"); !errors.Is(err, backend.ErrDuplicate) {
			e.Errorf("SendSignal again = %v, want ErrDuplicate", err)
		}
		e.wantSignal(approval, "yes")
		if info := e.get(ids[0]); info.Waits != (backend.SignalKey{}) || info.Failures != 0 {
			e.Errorf("after the signal the job is %+v", info)
		}
		e.wantCounts("a scheduled=2 a pending=2")
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a"), ids[0], ids[2])
		e.advance(e.unit + e.unit/10)
		e.wantIDs("Claim of those whose time is over", e.claim(e.b, w, 10, "a"), ids[1], ids[3])
		if err := e.send(backend.SignalKey{Name: "a\x00"}, ""); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("SendSignal of an invalid name = %v, want ErrInvalid", err)
		}
	},
}, {
	name: "signal/first",
	rule: "a job that waits for a signal that was sent is pending at once",
	run: func(e *env) {
		e.steps()
		if err := e.send(approval, ""); err != nil {
			e.Fatalf("SendSignal: %v", err)
		}
		e.wantSignal(approval, "")
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		e.sleep(e.claim1(e.b, w, "a").Lease, e.unit, approval)
		e.wantState(id, backend.Pending)
		e.wantIDs("Claim", e.claim(e.b, w, 1, "a"), id)
	},
}, {
	name: "signal/over",
	rule: "a job that has run since waits for the signal no more",
	run: func(e *env) {
		e.steps()
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		e.sleep(e.claim1(e.b, w, "a").Lease, e.unit/10, approval)
		e.advance(e.unit / 5)
		j := e.claim1(e.b, w, "a")
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Delay: e.unit}))
		if info := e.get(id); info.Waits != (backend.SignalKey{}) {
			e.Errorf("the job waits for %v", info.Waits)
		}
		if err := e.send(approval, ""); err != nil {
			e.Fatalf("SendSignal: %v", err)
		}
		e.wantState(id, backend.Scheduled)
	},
}, {
	name: "signal/kept",
	rule: "Reap deletes a signal that was sent KeepSignals ago, and none before",
	run: func(e *env) {
		e.steps()
		if e.store.Advance == nil {
			e.Skip("the case would take 30 days")
		}
		if err := e.send(approval, "x"); err != nil {
			e.Fatalf("SendSignal: %v", err)
		}
		e.advance(backend.KeepSignals - time.Hour)
		e.reap(e.b, backend.ReapRequest{})
		e.wantSignal(approval, "x")
		e.advance(2 * time.Hour)
		e.reap(e.b, backend.ReapRequest{})
		if _, err := e.steps().Signal(e.ctx, approval); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("Signal = %v, want ErrNotFound", err)
		}
	},
}, {
	name: "signal/race",
	rule: "a signal that is sent while a run ends that waits for it leaves no job asleep",
	run: func(e *env) {
		e.steps()
		w := e.worker()
		for i := range 20 {
			key := backend.SignalKey{Name: "approval", Key: fmt.Sprint(i)}
			id := e.push(e.b, "a", 1)[0]
			j := e.claim1(e.b, w, "a")
			e.atOnce(2, func(n int, b backend.Backend) {
				if n == 0 {
					if _, err := b.Fail(e.ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndSleep, Delay: time.Hour, Signal: key}}); err != nil {
						e.Errorf("Fail: %v", err)
					}
				} else if err := b.(backend.StepStore).SendSignal(e.ctx, nil, backend.Signal{SignalKey: key}); err != nil {
					e.Errorf("SendSignal: %v", err)
				}
			})
			if e.state(id) != backend.Pending {
				e.Fatalf("round %d: the job is %v, want pending", i, e.state(id))
			}
			j = e.claim1(e.b, w, "a")
			e.wantLost("Complete", e.complete(e.b, j.Lease))
		}
	},
}, {
	name: "step/export",
	rule: "Export and Import carry steps, signals, and jobs that sleep and wait for signals",
	run: func(e *env) {
		e.steps()
		capability[backend.ExportImporter](e, e.b)
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, e.worker(), 2, "a")
		e.storeStep(jobs[0].Lease, "z", "1")
		e.storeStep(jobs[0].Lease, "a", "\x00")
		e.sleep(jobs[0].Lease, e.unit, approval)
		e.wantLost("Complete", e.complete(e.b, jobs[1].Lease))
		sent := backend.SignalKey{Name: "approval", Key: "order 1"}
		for _, key := range []backend.SignalKey{sent, {Name: "b"}} {
			if err := e.send(key, "yes"); err != nil {
				e.Fatalf("SendSignal: %v", err)
			}
		}
		batch := e.export(e.b, backend.ExportRequest{Jobs: 10, Signals: 1})
		rest := e.export(e.b, backend.ExportRequest{Signals: 10, AfterSignal: sent})
		if len(batch.Signals) != 1 || batch.Signals[0].SignalKey != sent || len(rest.Signals) != 1 || rest.Signals[0].Name != "b" {
			e.Fatalf("Export has the signals %+v and %+v", batch.Signals, rest.Signals)
		}
		if len(batch.Jobs) != 2 || !batch.Jobs[0].Sleeps || batch.Jobs[0].Waits != approval {
			e.Fatalf("Export = %+v", batch.Jobs)
		}
		e.b = e.elsewhere()
		for range 2 {
			e.imports(e.b, batch)
			e.imports(e.b, rest)
		}
		e.wantSteps("imported", ids[0], "z=1", "a=\x00")
		e.wantSteps("imported without steps", ids[1])
		e.wantSignal(sent, "yes")
		e.wantState(ids[0], backend.Scheduled)
		if again := e.export(e.b, backend.ExportRequest{Jobs: 10, Signals: 1}); !reflect.DeepEqual(again, batch) {
			e.Errorf("Export of the imported = %+v, want %+v", again, batch)
		}
		if err := e.send(approval, ""); err != nil {
			e.Fatalf("SendSignal: %v", err)
		}
		if j := e.claim1(e.b, e.worker(), "a"); j.ID != ids[0] || !j.HasSteps {
			e.Errorf("the claimed job is %+v", j)
		}
	},
}, {
	name: "step/tx",
	rule: "a step that is stored in a transaction exists if and when it commits; a signal wakes its jobs then",
	run: func(e *env) {
		store := e.steps()
		w := e.worker()
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, w, 2, "a")
		e.sleep(jobs[1].Lease, e.unit, approval)
		for i, commit := range []bool{false, true, true} {
			_, tx := e.tx()
			step, stored, err := store.LockStep(e.ctx, tx, jobs[0].Lease, "book")
			if err != nil || stored != (i == 2) || stored && string(step.Result) != "1" {
				e.Fatalf("LockStep %d = %+v, %v, %v", i, step, stored, err)
			}
			if !stored {
				if err := store.StoreStep(e.ctx, tx, jobs[0].Lease, backend.Step{Name: "book", Result: []byte("1")}); err != nil {
					e.Fatalf("StoreStep: %v", err)
				}
				if err := store.SendSignal(e.ctx, tx, backend.Signal{SignalKey: approval}); err != nil {
					e.Fatalf("SendSignal: %v", err)
				}
			}
			if !commit {
				_ = tx.Rollback()
				e.wantSteps("rolled back", ids[0])
				e.wantState(ids[1], backend.Scheduled)
				continue
			}
			if err := tx.Commit(); err != nil {
				e.Fatalf("Commit: %v", err)
			}
			e.wantSteps("committed", ids[0], "book=1")
			e.wantState(ids[1], backend.Pending)
		}
		e.wantLost("Complete", e.complete(e.b, jobs[0].Lease))
		_, tx := e.tx()
		if _, _, err := store.LockStep(e.ctx, tx, jobs[0].Lease, "book"); !errors.Is(err, backend.ErrLeaseLost) {
			e.Errorf("LockStep of a job that is done = %v, want ErrLeaseLost", err)
		}
		if err := store.StoreStep(e.ctx, tx, jobs[0].Lease, backend.Step{Name: "x"}); !errors.Is(err, backend.ErrLeaseLost) {
			e.Errorf("StoreStep of a job that is done = %v, want ErrLeaseLost", err)
		}
	},
}}
