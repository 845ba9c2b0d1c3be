package conformance

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

func (e *env) gateStore(b backend.Backend) backend.GateStore {
	e.Helper()
	return capability[backend.GateStore](e, b)
}

// createGates stores gates and jobs.
func (e *env) createGates(gates []backend.NewGate, jobs ...backend.NewJob) ([]int64, []int64) {
	e.Helper()
	r, err := e.gateStore(e.b).CreateGates(e.ctx, nil, backend.GateRequest{Gates: gates, Jobs: jobs})
	if err != nil {
		e.Fatalf("CreateGates: %v", err)
	}
	if len(r.Gates) != len(gates) || len(r.Jobs) != len(jobs) {
		e.Fatalf("CreateGates of %d gates and %d jobs returned %+v", len(gates), len(jobs), r)
	}
	ids := make([]int64, len(r.Jobs))
	for i, p := range r.Jobs {
		ids[i] = p.ID
	}
	return r.Gates, ids
}

// createGate stores one gate, to which jobs refer as -1.
func (e *env) createGate(g backend.NewGate, jobs ...backend.NewJob) (int64, []int64) {
	e.Helper()
	gates, ids := e.createGates([]backend.NewGate{g}, jobs...)
	return gates[0], ids
}

// in returns a job that counts in gates.
func in(job backend.NewJob, gates ...int64) backend.NewJob {
	g := backend.Gating{}
	if job.Gating != nil {
		g = *job.Gating
	}
	g.Gates = gates
	job.Gating = &g
	return job
}

// behind returns a job that waits behind a gate.
func behind(job backend.NewJob, gate int64, when backend.When) backend.NewJob {
	g := backend.Gating{}
	if job.Gating != nil {
		g = *job.Gating
	}
	g.Gate, g.When = gate, when
	job.Gating = &g
	return job
}

// callbacks are three waiters of the first new gate, one for each condition.
func callbacks() []backend.NewJob {
	return []backend.NewJob{behind(newJob("done"), -1, backend.WhenDone), behind(newJob("ended"), -1, backend.WhenEnded), behind(newJob("failed"), -1, backend.WhenFailed)}
}

func (e *env) seal(ids ...int64) {
	e.Helper()
	if err := e.gateStore(e.b).SealGates(e.ctx, nil, ids); err != nil {
		e.Fatalf("SealGates: %v", err)
	}
}

func (e *env) gate(id int64) backend.GateInfo {
	e.Helper()
	infos, err := e.gateStore(e.b).Gates(e.ctx, backend.GateQuery{IDs: []int64{id}})
	if err != nil || len(infos) != 1 || infos[0].ID != id {
		e.Fatalf("Gates(%d) = %+v, %v", id, infos, err)
	}
	return infos[0]
}

// gateText returns the counts of a gate as "total/open done failed cancelled" and "ended" if it has.
func gateText(g backend.GateInfo) string {
	text := fmt.Sprintf("%d/%d %d %d %d", g.Total, g.Open, g.Done, g.Failed, g.Cancelled)
	if !g.EndedAt.IsZero() {
		text += " ended"
	}
	return text
}

// reapUntil calls Reap until ok returns true, a few times. A store may count soon after a job
// ends: Reap does it, unless another call does it meanwhile.
func (e *env) reapUntil(ok func() bool) {
	e.Helper()
	for range 20 {
		if ok() {
			return
		}
		e.reap(e.b, backend.ReapRequest{})
	}
}

// wantGate fails unless the gate has the counts of gateText.
func (e *env) wantGate(what string, id int64, want string) {
	e.Helper()
	got := ""
	e.reapUntil(func() bool {
		got = gateText(e.gate(id))
		return got == want
	})
	if got != want {
		e.Errorf("%s: the gate has %s, want %s", what, got, want)
	}
}

// wantStates fails unless the jobs have the states; zero is that of a job that is gone.
func (e *env) wantStates(what string, ids []int64, want ...backend.State) {
	e.Helper()
	states := func() (all []backend.State) {
		for _, id := range ids {
			all = append(all, e.state(id))
		}
		return all
	}
	var got []backend.State
	e.reapUntil(func() bool {
		got = states()
		return slices.Equal(got, want)
	})
	if !slices.Equal(got, want) {
		e.Errorf("%s: the jobs are %v, want %v", what, got, want)
	}
}

// finish claims all jobs of the names and completes them. It returns their IDs.
func (e *env) finish(names ...string) (ids []int64) {
	e.Helper()
	w := e.worker()
	for range 100 {
		jobs := e.claim(e.b, w, 1000, names...)
		if len(jobs) == 0 {
			return ids
		}
		for _, j := range jobs {
			ids = append(ids, j.ID)
		}
		e.completeAll(jobs)
	}
	e.Errorf("Claim of %v always finds more jobs", names)
	return ids
}

// failOne claims a job of a name and fails it.
func (e *env) failOne(name string) int64 {
	e.Helper()
	j := e.claim1(e.b, e.worker(), name)
	e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed, Error: "no"}))
	return j.ID
}

const (
	blocked   = backend.Blocked
	pending   = backend.Pending
	done      = backend.Done
	failed    = backend.Failed
	cancelled = backend.Cancelled
)

var gateCases = []testCase{{
	name: "gate/stored",
	rule: "members and waiters are stored with their gate: members are claimed with their gates, waiters are Blocked and not claimed, and Gates shows the counts",
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{Label: "import ü"}, append(callbacks(), in(newJob("m"), -1))...)
		member := e.pushJobs(e.b, in(newJob("m"), gate))[0]
		e.wantStates("stored", ids, blocked, blocked, blocked, pending)
		for i, when := range []backend.When{backend.WhenDone, backend.WhenEnded, backend.WhenFailed} {
			info := e.get(ids[i])
			if g := info.Gating; g == nil || g.Gate != gate || g.When != when || len(g.Gates) != 0 || info.BlockedBy != 0 {
				e.Errorf("waiter %d is %+v with %+v", i, info, g)
			}
		}
		if g := e.get(member).Gating; g == nil || !slices.Equal(g.Gates, []int64{gate}) || g.Gate != 0 || g.When != 0 {
			e.Errorf("the member has %+v", g)
		}
		g := e.gate(gate)
		if g.Label != "import ü" || g.Sealed || g.Fired || g.Parent != 0 || g.Waiting != 3 || g.CreatedAt.IsZero() || !g.Deadline.IsZero() {
			e.Errorf("the gate is %+v", g)
		}
		e.wantGate("stored", gate, "2/2 0 0 0")
		e.wantCounts("done blocked=1 ended blocked=1 failed blocked=1 m pending=2")
		got := e.claim(e.b, e.worker(), 10, "m", "done", "ended", "failed")
		e.wantIDs("Claim", got, ids[3], member)
		for _, j := range got {
			if j.Gating == nil || !slices.Equal(j.Gating.Gates, []int64{gate}) || j.Gating.Gate != 0 {
				e.Errorf("claimed with %+v", j.Gating)
			}
		}
	},
}, {
	name: "gate/done",
	rule: "WhenDone and WhenEnded hold once the gate is sealed and the last member has ended, not before; each waiter runs once; one for WhenFailed is deleted then",
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{}, append(callbacks(), in(newJob("m"), -1))...)
		e.finish("m")
		e.wantGate("not sealed", gate, "1/0 1 0 0")
		e.wantStates("not sealed", ids[:3], blocked, blocked, blocked)
		e.pushJobs(e.b, in(newJob("m"), gate), in(newJob("m"), gate))
		e.seal(gate)
		if !e.gate(gate).Sealed {
			e.Error("the gate is not sealed")
		}
		w := e.worker()
		last := e.claim1(e.b, w, "m")
		e.finish("m")
		e.wantGate("one runs", gate, "3/1 2 0 0")
		e.wantStates("one runs", ids[:3], blocked, blocked, blocked)
		e.complete(e.b, last.Lease)
		e.wantGate("all ended", gate, "3/0 3 0 0 ended")
		e.wantStates("all ended", ids[:3], pending, pending, 0)
		j := e.claim1(e.b, w, "done")
		if j.Gating == nil || j.Gating.Gate != gate || j.Gating.When != backend.WhenDone || j.Attempt != 1 {
			e.Errorf("claimed %+v with %+v", j, j.Gating)
		}
		e.complete(e.b, j.Lease)
		e.seal(gate)
		e.reap(e.b, backend.ReapRequest{})
		if got := e.finish("done", "ended", "failed"); !slices.Equal(got, ids[1:2]) {
			e.Errorf("claimed %v, want %v", got, ids[1:2])
		}
		if g := e.gate(gate); g.Waiting != 0 || g.Fired {
			e.Errorf("the gate is %+v", g)
		}
	},
}, {
	name: "gate/empty",
	rule: "a gate without members ends when it is sealed, also if it is created sealed",
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{}, callbacks()...)
		e.wantStates("open", ids, blocked, blocked, blocked)
		e.seal(gate)
		e.wantStates("sealed", ids, pending, pending, 0)
		gate, ids = e.createGate(backend.NewGate{Sealed: true}, callbacks()...)
		e.wantStates("created sealed", ids, pending, pending, 0)
		e.wantGate("created sealed", gate, "0/0 0 0 0 ended")
	},
}, {
	name: "gate/failed",
	rule: "WhenFailed holds from the first member that fails for good, not from a retry; at the end a waiter for WhenDone is Cancelled with the figures, and one for WhenEnded runs",
	run: func(e *env) {
		member := in(newJob("m"), -1)
		gate, ids := e.createGate(backend.NewGate{Sealed: true}, append(callbacks(), member, member, member)...)
		w := e.worker()
		j := e.claim1(e.b, w, "m")
		e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Error: "no"})
		e.wantStates("after a retry", ids[:3], blocked, blocked, blocked)
		j = e.claim1(e.b, w, "m")
		e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed, Error: "no"})
		e.wantStates("after a failure", ids[:3], blocked, blocked, pending)
		if !e.gate(gate).Fired {
			e.Error("the gate has not fired")
		}
		e.failOne("m")
		e.failOne("m")
		e.wantGate("ended", gate, "3/0 0 3 0 ended")
		e.wantStates("ended", ids[:3], cancelled, pending, pending)
		e.wantCancelled("ended", ids[0], backend.GateError+fmt.Sprintf("3 of 3 jobs of group %d failed", gate))
		if got := e.finish("done", "ended", "failed"); len(got) != 2 {
			e.Errorf("claimed %v, want two jobs", got)
		}
		late, ids := e.createGate(backend.NewGate{}, in(newJob("m"), -1))
		e.failOne("m")
		e.wantGate("failed", late, "1/0 0 1 0")
		waiter := e.pushJobs(e.b, behind(newJob("failed"), late, backend.WhenFailed))
		e.wantStates("a waiter that comes after the failure", append(waiter, ids...), pending, failed)
	},
}, {
	name: "gate/cancelled",
	rule: "a cancelled member is no failure: at the end WhenDone does not hold, and WhenFailed has not held",
	run: func(e *env) {
		member := in(newJob("m"), -1)
		gate, ids := e.createGate(backend.NewGate{Sealed: true}, append(callbacks(), member, member)...)
		e.operate(backend.OpCancel, backend.Filter{IDs: ids[3:4]})
		e.wantStates("one is cancelled", ids[:3], blocked, blocked, blocked)
		e.finish("m")
		e.wantGate("ended", gate, "2/0 1 0 1 ended")
		e.wantStates("ended", ids[:3], cancelled, pending, 0)
		e.wantCancelled("ended", ids[0], backend.GateError+fmt.Sprintf("1 of 2 jobs of group %d was cancelled", gate))
	},
}, {
	name: "gate/retried",
	rule: "a member that an operator retries before the end counts as unfinished again; after the end nothing changes the gate, and no waiter runs again",
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{}, append(callbacks(), in(newJob("m"), -1))...)
		e.failOne("m")
		e.wantGate("failed", gate, "1/0 0 1 0")
		e.wantAffected("retry", backend.OpRetry, ids[3:], ids[3])
		e.wantGate("retried", gate, "1/1 0 0 0")
		e.seal(gate)
		e.wantStates("retried", ids[:2], blocked, blocked)
		e.finish("m")
		e.wantGate("ended", gate, "1/0 1 0 0 ended")
		e.wantStates("ended", ids[:2], pending, pending)
		e.finish("done", "ended", "failed")
		e.wantAffected("retry", backend.OpRetry, ids[3:], ids[3])
		e.wantGate("retried after the end", gate, "1/0 1 0 0 ended")
		e.failOne("m")
		e.wantGate("failed after the end", gate, "1/0 1 0 0 ended")
		if got := e.finish("done", "ended", "failed"); len(got) != 0 {
			e.Errorf("claimed %v after the end", got)
		}
	},
}, {
	name: "gate/refused",
	rule: "a push to a gate that has ended fails with ErrGateEnded, and to one that does not exist with ErrNotFound; then nothing is stored, also no gate of CreateGates",
	run: func(e *env) {
		ended, _ := e.createGate(backend.NewGate{Sealed: true})
		open, _ := e.createGate(backend.NewGate{})
		for what, job := range map[string]backend.NewJob{"member": in(newJob("m"), open, ended), "waiter": behind(newJob("m"), ended, backend.WhenEnded)} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{newJob("plain"), in(newJob("m"), open), job}); !errors.Is(err, backend.ErrGateEnded) {
				e.Errorf("Push of a %s of a gate that has ended = %v, want ErrGateEnded", what, err)
			}
		}
		for what, job := range map[string]backend.NewJob{"member": in(newJob("m"), open, open+1000), "waiter": behind(newJob("m"), open+1000, backend.WhenEnded)} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{newJob("plain"), job}); !errors.Is(err, backend.ErrNotFound) {
				e.Errorf("Push of a %s of no gate = %v, want ErrNotFound", what, err)
			}
		}
		store := e.gateStore(e.b)
		for what, req := range map[string]backend.GateRequest{
			"job":    {Gates: []backend.NewGate{{}}, Jobs: []backend.NewJob{newJob("plain"), in(newJob("m"), -1, ended)}},
			"parent": {Gates: []backend.NewGate{{}, {Parent: ended}}, Jobs: []backend.NewJob{newJob("plain")}},
		} {
			if _, err := store.CreateGates(e.ctx, nil, req); !errors.Is(err, backend.ErrGateEnded) {
				e.Errorf("CreateGates with a %s of a gate that has ended = %v, want ErrGateEnded", what, err)
			}
		}
		if err := store.SealGates(e.ctx, nil, []int64{open, open + 1000}); !errors.Is(err, backend.ErrNotFound) {
			e.Errorf("SealGates of no gate = %v, want ErrNotFound", err)
		}
		e.wantCounts("")
		e.wantGate("refused", open, "0/0 0 0 0")
		if all, err := store.Gates(e.ctx, backend.GateQuery{}); err != nil || len(all) != 2 || e.gate(open).Sealed {
			e.Errorf("Gates = %+v, %v, want two, one of them not sealed", all, err)
		}
	},
}, {
	name:  "gate/duplicate",
	needs: backend.FieldUnique,
	rule:  "a duplicate counts the job that has the unique key, once, and by its state if it has ended",
	run: func(e *env) {
		gate, _ := e.createGate(backend.NewGate{})
		job := uniqueJob("m", backend.Unique{Key: "k", For: 100 * e.unit})
		id := e.pushJobs(e.b, job)[0]
		e.wantDuplicate("pending", in(job, gate), id)
		e.wantDuplicate("again", in(job, gate), id)
		e.wantGate("a duplicate of a pending job", gate, "1/1 0 0 0")
		e.finish("m")
		e.wantGate("the job is done", gate, "1/0 1 0 0")
		other, ids := e.createGate(backend.NewGate{Sealed: true}, in(job, -1), behind(newJob("done"), -1, backend.WhenDone))
		e.wantGate("a duplicate of a job that is done", other, "1/0 1 0 0 ended")
		e.wantStates("ended", ids, done, pending)
		if g := e.get(id).Gating; g == nil || !slices.Equal(g.Gates, []int64{gate, other}) {
			e.Errorf("the job counts in %+v, want %d and %d", g, gate, other)
		}
	},
}, {
	name:  "gate/replace",
	needs: backend.FieldUnique,
	rule:  "Replace keeps the gates of the waiting job and adds those of the new one",
	run: func(e *env) {
		gates, _ := e.createGates([]backend.NewGate{{}, {}})
		job := uniqueJob("m", backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace})
		id := e.pushJobs(e.b, in(job, gates[0]))[0]
		e.wantDuplicate("Replace", in(job, gates[1]), id)
		if g := e.get(id).Gating; g == nil || !slices.Equal(g.Gates, gates) {
			e.Errorf("the job counts in %+v, want %v", g, gates)
		}
		e.finish("m")
		for _, gate := range gates {
			e.wantGate("done", gate, "1/0 1 0 0")
		}
		waiter := behind(job, gates[0], backend.WhenEnded)
		id = e.pushJobs(e.b, waiter)[0]
		late := job
		late.Delay = 10 * e.unit
		e.wantDuplicate("Replace of a waiter", late, id)
		e.wantState(id, blocked)
		e.seal(gates[0])
		e.wantStates("ended", []int64{id}, backend.Scheduled)
	},
}, {
	name: "gate/ways",
	rule: "every way in which a job ends or is deleted counts it in its gates",
	run: func(e *env) {
		for _, way := range e.gateWays() {
			e.Logf("%s", way.name)
			gate, ids := e.createGate(backend.NewGate{Sealed: true}, in(way.job, -1), behind(newJob("ended"), -1, backend.WhenEnded))
			way.take(e, ids[0])
			e.wantGate(way.name, gate, way.want)
			if !slices.Equal(e.finish("ended"), ids[1:]) {
				e.Errorf("%s: the waiter does not run", way.name)
			}
		}
	},
}, {
	name: "gate/back",
	rule: "a job that waits again has not ended: its gates do not change",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) {
				continue
			}
			gate, _ := e.createGate(backend.NewGate{Sealed: true}, in(newJob(way.job()), -1))
			w := e.worker()
			way.take(e, w, e.claim1(e.b, w, way.job()))
			e.wantGate(way.name, gate, "1/1 0 0 0")
		}
	},
}, {
	name: "gate/pruned",
	rule: "deleting a finished member, by history or by an operator, changes no count",
	opts: Options{History: backend.History{Done: time.Second, Failed: -1}},
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{}, in(newJob("m"), -1), in(newJob("m"), -1), in(newJob("m"), -1))
		e.finish("m")
		e.operate(backend.OpDelete, backend.Filter{IDs: ids[:1]})
		e.advance(2 * time.Second)
		e.reap(e.b, backend.ReapRequest{})
		e.wantStates("pruned", ids, 0, 0, 0)
		e.wantGate("pruned", gate, "3/0 3 0 0")
		id := e.pushJobs(e.b, in(newJob("m"), gate))[0]
		e.failOne("m")
		e.wantGate("a failed job that is not kept", gate, "4/0 3 1 0")
		e.wantState(id, 0)
	},
}, {
	name: "gate/several",
	rule: "a job may count in several gates and wait behind another",
	run: func(e *env) {
		gates, ids := e.createGates([]backend.NewGate{{Sealed: true}, {Sealed: true}, {Sealed: true}},
			in(newJob("m"), -1, -2), behind(in(newJob("both"), -3, -2), -1, backend.WhenDone), behind(newJob("last"), -3, backend.WhenDone))
		e.finish("m")
		e.wantGate("the first", gates[0], "1/0 1 0 0 ended")
		e.wantGate("the second", gates[1], "2/1 1 0 0")
		e.wantStates("one ended", ids, done, pending, blocked)
		j := e.claim1(e.b, e.worker(), "both")
		if g := j.Gating; g == nil || g.Gate != gates[0] || !slices.Equal(g.Gates, gates[1:]) {
			e.Errorf("claimed with %+v, want %v behind %d", g, gates[1:], gates[0])
		}
		e.complete(e.b, j.Lease)
		e.wantGate("the second", gates[1], "2/0 2 0 0 ended")
		e.wantStates("all ended", ids, done, done, pending)
	},
}, {
	name: "gate/nested",
	rule: "an inner gate counts in its parent as one member: as done if at its end no member has failed or was cancelled, otherwise as failed",
	run: func(e *env) {
		outer, ids := e.createGate(backend.NewGate{}, callbacks()...)
		good, _ := e.createGate(backend.NewGate{Parent: outer, Sealed: true}, in(newJob("m"), -1))
		more, _ := e.createGates([]backend.NewGate{{Parent: outer}, {Parent: -1, Sealed: true}}, in(newJob("deep"), -2))
		e.seal(outer)
		if p := e.gate(more[1]).Parent; p != more[0] {
			e.Errorf("the parent is %d, want %d", p, more[0])
		}
		e.wantGate("two inner gates", outer, "2/2 0 0 0")
		e.finish("m")
		e.wantGate("an inner gate ended", good, "1/0 1 0 0 ended")
		e.wantGate("an inner gate ended", outer, "2/1 1 0 0")
		e.seal(more[0])
		e.failOne("deep")
		e.wantGate("an inner gate failed", more[0], "1/0 0 1 0 ended")
		e.wantGate("an inner gate failed", outer, "2/0 1 1 0 ended")
		e.wantStates("an inner gate failed", ids, cancelled, pending, pending)
	},
}, {
	name:  "gate/delay",
	needs: backend.FieldExpires,
	rule:  "the Delay and Expires of a waiter count from the time at which its condition holds; instants stay",
	run: func(e *env) {
		delayed := behind(after(10*e.unit, newJob("delayed")), -1, backend.WhenEnded)
		expires := behind(expiring(5*e.unit, newJob("expires")), -1, backend.WhenEnded)
		runAt := behind(newJob("at"), -1, backend.WhenEnded)
		at := e.now().Add(40 * e.unit).Truncate(time.Microsecond)
		runAt.RunAt = at
		gone := behind(newJob("gone"), -1, backend.WhenEnded)
		gone.ExpiresAt = e.now().Add(15 * e.unit)
		gate, ids := e.createGate(backend.NewGate{}, delayed, expires, runAt, gone)
		e.advance(20 * e.unit)
		e.reap(e.b, backend.ReapRequest{})
		e.wantStates("before the end", ids, blocked, blocked, blocked, cancelled)
		e.seal(gate)
		e.wantStates("at the end", ids[:3], backend.Scheduled, pending, backend.Scheduled)
		if got := e.get(ids[2]).RunAt; !got.Equal(at) {
			e.Errorf("the instant became %v, want %v", got, at)
		}
		if left := e.get(ids[1]).ExpiresAt.Sub(e.now()); left <= 3*e.unit || left > 5*e.unit {
			e.Errorf("the waiter expires in %v, want within %v", left, 5*e.unit)
		}
		e.advance(6 * e.unit)
		e.reap(e.b, backend.ReapRequest{})
		e.wantStates("after the expiry", ids[:2], backend.Scheduled, cancelled)
		e.advance(5 * e.unit)
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "delayed", "at"), ids[0])
	},
}, {
	name:  "gate/serial",
	needs: backend.FieldSerial,
	rule:  "a waiter joins its serial key when its condition holds, and blocks no job before",
	run: func(e *env) {
		waiter := behind(serialJob("m", "k"), -1, backend.WhenEnded)
		gate, ids := e.createGate(backend.NewGate{}, waiter, in(serialJob("m", "k"), -1), serialJob("m", "k"))
		e.wantStates("stored", ids, blocked, pending, blocked)
		w := e.worker()
		first := e.claim1(e.b, w, "m")
		e.wantIDs("Claim", []backend.Job{first}, ids[1])
		e.complete(e.b, first.Lease)
		e.wantStates("the member is done", ids, blocked, done, pending)
		e.seal(gate)
		e.wantStates("ended", ids, blocked, done, pending)
		if info := e.get(ids[0]); info.BlockedBy != ids[2] {
			e.Errorf("the waiter is blocked by %d, want %d", info.BlockedBy, ids[2])
		}
		if got := e.finish("m"); !slices.Equal(got, []int64{ids[2], ids[0]}) {
			e.Errorf("claimed %v, want %v and %v", got, ids[2], ids[0])
		}
	},
}, {
	name:  "gate/unique",
	needs: backend.FieldUnique,
	rule:  "a waiter has its unique key from the push on",
	run: func(e *env) {
		job := uniqueJob("m", backend.Unique{Key: "k"})
		gate, ids := e.createGate(backend.NewGate{}, behind(job, -1, backend.WhenEnded))
		e.wantDuplicate("blocked", job, ids[0])
		e.seal(gate)
		e.wantDuplicate("pending", job, ids[0])
		e.finish("m")
		e.wantNew("done", job)
	},
}, {
	name: "gate/many",
	rule: "any number of waiters is let through",
	run: func(e *env) {
		const n = 1000
		jobs := make([]backend.NewJob, n, n+1)
		for i := range jobs {
			jobs[i] = behind(newJob("w"), -1, backend.WhenEnded)
		}
		gate, ids := e.createGate(backend.NewGate{Sealed: true}, append(jobs, in(newJob("m"), -1))...)
		e.finish("m")
		for range 2 * n {
			if e.gate(gate).Waiting == 0 {
				break
			}
			e.reap(e.b, backend.ReapRequest{})
		}
		got := e.finish("w")
		slices.Sort(got)
		if !slices.Equal(got, ids[:n]) {
			e.Errorf("%d waiters ran, want %d", len(got), n)
		}
	},
}, {
	name: "gate/cascade",
	rule: "a waiter that is cancelled by its gate counts in its own gates, and so on",
	run: func(e *env) {
		const n = 50
		gates := make([]backend.NewGate, n)
		jobs := []backend.NewJob{in(newJob("m"), -1)}
		for i := range gates {
			gates[i].Sealed = true
			job := behind(newJob("w"), int64(-1-i), backend.WhenDone)
			if i+1 < n {
				job = in(job, int64(-2-i))
			}
			jobs = append(jobs, job)
		}
		all, ids := e.createGates(gates, jobs...)
		e.failOne("m")
		for range n {
			if e.state(ids[n]) == cancelled {
				break
			}
			e.reap(e.b, backend.ReapRequest{})
		}
		e.wantState(ids[n], cancelled)
		e.wantGate("the last", all[n-1], "1/0 0 0 1 ended")
		e.wantCounts(fmt.Sprintf("m failed=1 w cancelled=%d", n))
	},
}, {
	name: "gate/wake",
	rule: "a waiter that is let through ends a Wait",
	run: func(e *env) {
		gate, _ := e.createGate(backend.NewGate{}, behind(newJob("w"), -1, backend.WhenEnded))
		c := e.waiting(e.b, e.ctx, request(e.worker(), 1, "w"))
		e.wantAsleep("before the end", c)
		e.seal(gate)
		e.wantWake("at the end", c)
	},
}, {
	name: "gate/race",
	rule: "of two last members that end at once, the gate counts both and ends once",
	run: func(e *env) {
		rounds := 200
		if testing.Short() {
			rounds = 30
		}
		for round := range rounds {
			gate, ids := e.createGate(backend.NewGate{Sealed: true}, in(newJob("m"), -1), in(newJob("m"), -1), behind(newJob("w"), -1, backend.WhenDone))
			jobs := e.claim(e.b, e.worker(), 2, "m")
			e.wantIDs("Claim", jobs, ids[:2]...)
			e.atOnce(2, func(i int, b backend.Backend) {
				if lost, err := b.Complete(e.ctx, []backend.Completion{{Lease: jobs[i].Lease}}); err != nil || len(lost) > 0 {
					e.Errorf("Complete = %v, %v", lost, err)
				}
			})
			e.wantGate(fmt.Sprintf("round %d", round), gate, "2/0 2 0 0 ended")
			if got := e.finish("w"); !slices.Equal(got, ids[2:]) {
				e.Fatalf("round %d: claimed %v, want %v", round, got, ids[2:])
			}
		}
	},
}, {
	name: "gate/deadline",
	rule: "Reap seals a gate whose deadline has passed and cancels its unfinished members, those of inner gates too; no job can be added then",
	run: func(e *env) {
		gates, ids := e.createGates([]backend.NewGate{{Deadline: 10 * e.unit}, {Parent: -1}},
			in(newJob("m"), -1), in(newJob("m"), -1), in(newJob("inner"), -2), in(newJob("runs"), -1), behind(newJob("ended"), -1, backend.WhenEnded))
		run := e.claim1(e.b, e.worker(), "runs")
		if d := e.gate(gates[0]).Deadline.Sub(e.gate(gates[0]).CreatedAt); d != 10*e.unit {
			e.Errorf("the deadline is %v after the creation, want %v", d, 10*e.unit)
		}
		e.reap(e.b, backend.ReapRequest{})
		e.wantGate("before the deadline", gates[0], "4/4 0 0 0")
		e.advance(11 * e.unit)
		if _, err := e.b.Push(e.ctx, []backend.NewJob{in(newJob("m"), gates[0])}); !errors.Is(err, backend.ErrGateEnded) {
			e.Errorf("Push after the deadline = %v, want ErrGateEnded", err)
		}
		for range 3 {
			e.reap(e.b, backend.ReapRequest{})
		}
		e.wantCancelled("the deadline has passed", ids[0], fmt.Sprint(backend.DeadlineError, gates[0]))
		e.wantStates("the deadline has passed", ids, cancelled, cancelled, cancelled, backend.Running, blocked)
		e.wantGate("inner", gates[1], "1/0 0 0 1 ended")
		if !e.get(ids[3]).Cancelling {
			e.Error("the running member is not asked to end")
		}
		e.complete(e.b, run.Lease)
		e.wantGate("ended", gates[0], "4/0 1 1 2 ended")
		e.wantStates("ended", ids[4:], pending)
	},
}, {
	name: "gate/operate",
	rule: "a waiter that is cancelled or deleted waits no longer; retrying one that waits changes nothing, and one that is finished runs without regard to the gate",
	run: func(e *env) {
		waiter := behind(newJob("w"), -1, backend.WhenDone)
		gate, ids := e.createGate(backend.NewGate{}, waiter, waiter, waiter)
		e.wantAffected("retry", backend.OpRetry, ids[2:])
		e.wantAffected("cancel", backend.OpCancel, ids[:1], ids[0])
		e.wantAffected("delete", backend.OpDelete, ids[1:2], ids[1])
		if g := e.gate(gate); g.Waiting != 1 {
			e.Errorf("%d jobs wait, want 1", g.Waiting)
		}
		e.wantStates("operated", ids, cancelled, 0, blocked)
		e.wantAffected("retry", backend.OpRetry, ids[:1], ids[0])
		if got := e.finish("w"); !slices.Equal(got, ids[:1]) {
			e.Errorf("claimed %v, want %v", got, ids[0])
		}
		e.seal(gate)
		e.wantStates("ended", ids, done, 0, pending)
	},
}, {
	name: "gate/filter",
	rule: "Filter.Gate selects the members of a gate and Filter.Behind its waiters, finished ones too",
	run: func(e *env) {
		gate, ids := e.createGate(backend.NewGate{}, in(newJob("a"), -1), newJob("a"), in(newJob("b"), -1), behind(newJob("w"), -1, backend.WhenEnded))
		for what, c := range map[string]struct {
			filter backend.Filter
			want   []int64
		}{
			"members":        {backend.Filter{Gate: gate}, []int64{ids[2], ids[0]}},
			"members a":      {backend.Filter{Gate: gate, Names: []string{"a"}}, []int64{ids[0]}},
			"of given IDs":   {backend.Filter{Gate: gate, IDs: ids[1:]}, []int64{ids[2]}},
			"of no gate":     {backend.Filter{Gate: gate + 1000}, nil},
			"waiters":        {backend.Filter{Behind: gate}, ids[3:]},
			"pending":        {backend.Filter{Gate: gate, States: []backend.State{pending}}, []int64{ids[2], ids[0]}},
			"not done":       {backend.Filter{Gate: gate, States: []backend.State{done}}, nil},
			"pending behind": {backend.Filter{Behind: gate, States: []backend.State{pending}}, nil},
		} {
			if got := e.list(backend.ListRequest{Filter: c.filter}); !slices.Equal(got, c.want) {
				e.Errorf("List of %s = %v, want %v", what, got, c.want)
			}
		}
		page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Gate: gate}, Limit: 1})
		if err != nil || len(page.Jobs) != 1 || page.Jobs[0].Gating == nil || !slices.Equal(page.Jobs[0].Gating.Gates, []int64{gate}) {
			e.Errorf("List = %+v, %v", page, err)
		}
		if r := e.operate(backend.OpCancel, backend.Filter{Gate: gate}); !slices.Equal(r.Affected, []int64{ids[0], ids[2]}) {
			e.Errorf("Operate = %+v, want %v and %v affected", r, ids[0], ids[2])
		}
		e.seal(gate)
		e.wantStates("cancelled", ids, cancelled, pending, cancelled, pending)
		if got := e.list(backend.ListRequest{Filter: backend.Filter{Behind: gate}}); !slices.Equal(got, ids[3:]) {
			e.Errorf("List of waiters after the end = %v, want %v", got, ids[3:])
		}
	},
}, {
	name: "gate/query",
	rule: "Gates returns gates by ID, by parent, open ones and page by page, newest first",
	run: func(e *env) {
		all, _ := e.createGates([]backend.NewGate{{}, {Sealed: true}, {Parent: -1}, {Parent: -3}})
		store := e.gateStore(e.b)
		for what, c := range map[string]struct {
			query backend.GateQuery
			want  []int64
		}{
			"all":      {backend.GateQuery{}, []int64{all[3], all[2], all[1], all[0]}},
			"two":      {backend.GateQuery{IDs: []int64{all[1], all[3], all[3] + 1000}}, []int64{all[3], all[1]}},
			"none":     {backend.GateQuery{IDs: []int64{}}, nil},
			"inner":    {backend.GateQuery{Parent: all[0]}, []int64{all[2]}},
			"open":     {backend.GateQuery{Open: true}, []int64{all[3], all[2], all[0]}},
			"page one": {backend.GateQuery{Limit: 2}, []int64{all[3], all[2]}},
			"page two": {backend.GateQuery{Limit: 2, Before: all[2]}, []int64{all[1], all[0]}},
		} {
			infos, err := store.Gates(e.ctx, c.query)
			var got []int64
			for _, g := range infos {
				got = append(got, g.ID)
			}
			if err != nil || !slices.Equal(got, c.want) {
				e.Errorf("Gates, %s = %v, %v, want %v", what, got, err, c.want)
			}
		}
	},
}, {
	name: "gate/delete",
	rule: "DeleteGates deletes gates that have ended and no others, and no job; their jobs forget them, and no gate gets their ID",
	run: func(e *env) {
		gates, ids := e.createGates([]backend.NewGate{{Sealed: true}, {}}, in(newJob("m"), -1, -2), behind(newJob("w"), -1, backend.WhenEnded))
		e.finish("m")
		e.wantStates("ended", ids, done, pending)
		deleted, err := e.gateStore(e.b).DeleteGates(e.ctx, []int64{gates[1], gates[0], gates[1] + 1000})
		if err != nil || !slices.Equal(deleted, gates[:1]) {
			e.Errorf("DeleteGates = %v, %v, want %v", deleted, err, gates[:1])
		}
		e.wantStates("deleted", ids, done, pending)
		if g := e.get(ids[0]).Gating; g == nil || !slices.Equal(g.Gates, gates[1:]) {
			e.Errorf("the member counts in %+v, want %v", g, gates[1:])
		}
		if g := e.get(ids[1]).Gating; g != nil {
			e.Errorf("the waiter has %+v", g)
		}
		e.finish("w")
		e.seal(gates[1])
		if deleted, err = e.gateStore(e.b).DeleteGates(e.ctx, gates); err != nil || len(deleted) != 1 {
			e.Errorf("DeleteGates = %v, %v", deleted, err)
		}
		if next, _ := e.createGate(backend.NewGate{}); next <= gates[1] {
			e.Errorf("a new gate has the ID %d, after %d was used", next, gates[1])
		}
	},
}, {
	name: "gate/kept",
	rule: "Reap deletes a gate an hour after its end if none of its jobs is stored, and 30 days after it otherwise",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("the store's clock cannot be moved")
		}
		gates, ids := e.createGates([]backend.NewGate{{Sealed: true}, {Sealed: true}, {}}, in(newJob("m"), -1), in(newJob("m"), -2))
		e.finish("m")
		e.wantGate("ended", gates[0], oneDone)
		e.wantGate("ended", gates[1], oneDone)
		e.operate(backend.OpDelete, backend.Filter{IDs: ids[:1]})
		left := func() (left []int64) {
			for range 3 {
				e.reap(e.b, backend.ReapRequest{})
			}
			infos, err := e.gateStore(e.b).Gates(e.ctx, backend.GateQuery{IDs: gates})
			if err != nil {
				e.Fatalf("Gates: %v", err)
			}
			for _, g := range infos {
				left = append(left, g.ID)
			}
			slices.Sort(left)
			return left
		}
		e.advance(backend.KeepGate - time.Minute)
		if got := left(); !slices.Equal(got, gates) {
			e.Errorf("before an hour %v are left, want %v", got, gates)
		}
		e.advance(2 * time.Minute)
		if got := left(); !slices.Equal(got, gates[1:]) {
			e.Errorf("after an hour %v are left, want %v", got, gates[1:])
		}
		e.set(e.b, backend.Settings{Name: "m", History: backend.History{Done: 90 * 24 * time.Hour}})
		e.advance(backend.KeepEnded)
		if got := left(); !slices.Equal(got, gates[2:]) {
			e.Errorf("after 30 days %v are left, want %v", got, gates[2:])
		}
		e.wantState(ids[1], done)
	},
}, {
	name: "gate/invalid",
	rule: "CreateGates, Push, Gates and filters refuse what package check refuses",
	run: func(e *env) {
		gate, _ := e.createGate(backend.NewGate{})
		store := e.gateStore(e.b)
		one := []backend.NewGate{{}}
		for what, req := range map[string]backend.GateRequest{
			"no gates":             {},
			"a long label":         {Gates: []backend.NewGate{{Label: strings.Repeat("x", 256)}}},
			"a later parent":       {Gates: []backend.NewGate{{Parent: -2}, {}}},
			"a negative deadline":  {Gates: []backend.NewGate{{Deadline: -1}}},
			"an unknown new gate":  {Gates: one, Jobs: []backend.NewJob{in(newJob("m"), -2)}},
			"the same gate twice":  {Gates: one, Jobs: []backend.NewJob{in(newJob("m"), -1, -1)}},
			"no condition":         {Gates: one, Jobs: []backend.NewJob{behind(newJob("m"), -1, 0)}},
			"an unknown condition": {Gates: one, Jobs: []backend.NewJob{behind(newJob("m"), -1, 9)}},
			"its own gate":         {Gates: one, Jobs: []backend.NewJob{behind(in(newJob("m"), -1), -1, backend.WhenDone)}},
			"no name":              {Gates: one, Jobs: []backend.NewJob{{}}},
		} {
			if _, err := store.CreateGates(e.ctx, nil, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("CreateGates with %s = %v, want ErrInvalid", what, err)
			}
		}
		for _, job := range []backend.NewJob{in(newJob("m"), -1), in(newJob("m"), make([]int64, 65)...), behind(newJob("m"), -1, backend.WhenDone), behind(newJob("m"), 0, backend.WhenDone)} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{job}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Push with %+v = %v, want ErrInvalid", job.Gating, err)
			}
		}
		if _, err := store.Gates(e.ctx, backend.GateQuery{Limit: 1001}); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("Gates with a limit of 1001 = %v, want ErrInvalid", err)
		}
		if _, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Gate: -1}}); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("List of gate -1 = %v, want ErrInvalid", err)
		}
		e.wantCounts("")
		e.wantGate("refused", gate, "0/0 0 0 0")
	},
}, {
	name: "gate/tx",
	rule: "gates, members and seals of a transaction exist if and when it commits, and a completion of one that rolls back does not count",
	run: func(e *env) {
		store := e.gateStore(e.b)
		open, ids := e.createGate(backend.NewGate{}, in(newJob("m"), -1), behind(newJob("w"), -1, backend.WhenDone))
		j := e.claim1(e.b, e.worker(), "m")
		pusher, tx := e.tx()
		try := func(tx *sql.Tx) int64 {
			r, err := store.CreateGates(e.ctx, tx, backend.GateRequest{Gates: []backend.NewGate{{}}, Jobs: []backend.NewJob{in(newJob("new"), -1)}})
			if err != nil {
				e.Fatalf("CreateGates: %v", err)
			}
			if _, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{in(newJob("new"), open)}); err != nil {
				e.Fatalf("PushTx: %v", err)
			}
			if err := store.SealGates(e.ctx, tx, []int64{open}); err != nil {
				e.Fatalf("SealGates: %v", err)
			}
			if err := pusher.CompleteTx(e.ctx, tx, backend.Completion{Lease: j.Lease}); err != nil {
				e.Fatalf("CompleteTx: %v", err)
			}
			return r.Gates[0]
		}
		gone := try(tx)
		if err := tx.Rollback(); err != nil {
			e.Fatalf("Rollback: %v", err)
		}
		if infos, err := store.Gates(e.ctx, backend.GateQuery{IDs: []int64{gone}}); err != nil || len(infos) != 0 {
			e.Errorf("Gates after the rollback = %v, %v", infos, err)
		}
		e.wantGate("after the rollback", open, "1/1 0 0 0")
		e.wantStates("after the rollback", ids, backend.Running, blocked)
		_, tx = e.tx()
		kept := try(tx)
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantGate("after the commit", kept, "1/1 0 0 0")
		e.wantGate("after the commit", open, "2/1 1 0 0")
		e.finish("new")
		e.wantGate("all done", open, "2/0 2 0 0 ended")
		e.wantStates("all done", ids, done, pending)
		_, ids = e.createGate(backend.NewGate{Sealed: true}, in(newJob("m"), -1), behind(newJob("w"), -1, backend.WhenDone))
		j = e.claim1(e.b, e.worker(), "m")
		_, tx = e.tx()
		if err := pusher.CompleteTx(e.ctx, tx, backend.Completion{Lease: j.Lease}); err != nil {
			e.Fatalf("CompleteTx: %v", err)
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		e.wantStates("the last member in a transaction", ids, done, pending)
	},
}, {
	name: "gate/import",
	rule: "an export and import of a gate that has not ended keeps its counts, and its waiters run when the last member has ended; importing it again changes nothing",
	opts: Options{History: backend.History{Failed: -1}},
	run: func(e *env) {
		gates, ids := e.createGates([]backend.NewGate{{Label: "x"}, {Parent: -1, Sealed: true}},
			append(callbacks(), in(newJob("m"), -1), in(newJob("lost"), -1), in(newJob("rest"), -1), in(newJob("inner"), -2), behind(after(10*e.unit, newJob("late")), -1, backend.WhenEnded))...)
		e.finish("m")
		e.operate(backend.OpCancel, backend.Filter{Names: []string{"lost"}}) // not kept
		e.wantGate("exported", gates[0], "4/2 1 0 1")
		batch := e.exportAll(e.b, 3)
		infos, err := e.gateStore(e.b).Gates(e.ctx, backend.GateQuery{})
		if err != nil {
			e.Fatalf("Gates: %v", err)
		}
		slices.Reverse(infos)
		batch.Gates = infos
		e.b = e.elsewhere()
		e.imports(e.b, batch)
		if r := e.imports(e.b, batch); r.Stored != 0 {
			e.Errorf("importing again stored %d jobs", r.Stored)
		}
		e.wantGate("imported", gates[0], "4/2 1 0 1")
		if g := e.gate(gates[0]); g.Label != "x" || g.Waiting != 4 {
			e.Errorf("the imported gate is %+v", g)
		}
		if next, _ := e.createGate(backend.NewGate{Sealed: true}); next <= gates[1] {
			e.Errorf("a new gate has the ID %d, after %d was imported", next, gates[1])
		}
		e.wantStates("imported", append(ids[:3:3], ids[7]), blocked, blocked, blocked, blocked)
		e.seal(gates[0])
		e.finish("rest", "inner")
		e.wantGate("all ended", gates[0], "4/0 3 0 1 ended")
		e.wantStates("all ended", append(ids[:3:3], ids[7]), 0, pending, 0, backend.Scheduled)
	},
}, {
	name: "gate/import-reap",
	rule: "Reap leaves the counts of an imported gate as they are while its jobs still follow",
	run: func(e *env) {
		at := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
		member, waiter := record(10, "m", pending), record(11, "w", blocked)
		member.Gating = &backend.Gating{Gates: []int64{1}}
		waiter.Gating = &backend.Gating{Gate: 1, When: backend.WhenDone}
		e.imports(e.b, backend.Batch{Gates: []backend.GateInfo{{ID: 1, Sealed: true, Total: 1, Open: 1, CreatedAt: at}}})
		e.reap(e.b, backend.ReapRequest{})
		e.imports(e.b, backend.Batch{Jobs: []backend.Record{member, waiter}})
		e.wantGate("imported", 1, "1/1 0 0 0")
		e.finish("m")
		e.wantGate("its member is done", 1, oneDone)
		e.wantStates("its member is done", []int64{11}, pending)
	},
}, {
	name: "gate/import-over",
	rule: "an imported gate that is sealed and has no unfinished member ends, counts in its parent, and lets its waiters through, which may come later",
	run: func(e *env) {
		at := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
		job := record(10, "ended", blocked)
		job.Gating = &backend.Gating{Gate: 2, When: backend.WhenEnded}
		e.imports(e.b, backend.Batch{Gates: []backend.GateInfo{
			{ID: 1, Sealed: true, Total: 1, Open: 1, CreatedAt: at},
			{ID: 2, Parent: 1, Sealed: true, Total: 1, Done: 1, CreatedAt: at},
			{ID: 3, Total: 1, Done: 1, CreatedAt: at},
		}})
		e.wantGate("the inner one", 2, oneDone)
		e.wantGate("the outer one", 1, oneDone)
		e.wantGate("one that is not sealed", 3, "1/0 1 0 0")
		e.imports(e.b, backend.Batch{Jobs: []backend.Record{job}})
		e.wantStates("imported later", []int64{10}, pending)
	},
}}
