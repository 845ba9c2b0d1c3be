package conformance

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// flowGates stores gates of which the first is that of a flow. It skips the case if the store has gates
// of groups only.
func (e *env) flowGates(gates []backend.NewGate, jobs ...backend.NewJob) ([]int64, []int64) {
	e.Helper()
	_, err := e.gateStore(e.b).CreateGates(e.ctx, nil, backend.GateRequest{Gates: []backend.NewGate{{Kind: backend.FlowGate, Sealed: true}}})
	if errors.Is(err, errors.ErrUnsupported) {
		e.Skip("the store declines gates of flows")
	}
	return e.createGates(append([]backend.NewGate{{Kind: backend.FlowGate, Sealed: true}}, gates...), jobs...)
}

// need returns a sealed gate of what a job depends on.
func need() backend.NewGate { return backend.NewGate{Kind: backend.NeedGate, Sealed: true} }

// lastError returns the last error of a job.
func (e *env) lastError(id int64) string {
	e.Helper()
	all := e.get(id).Errors
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Error
}

var flowCases = []testCase{{
	name: "flow/needs",
	rule: "a job that depends on others waits for NeedsDone or NeedsEnded, and becomes pending when they have ended; NeedsDone is Cancelled then if one was not done, with NeedError",
	run: func(e *env) {
		gates, ids := e.flowGates([]backend.NewGate{need(), need()},
			in(newJob("a"), -1, -2), in(newJob("b"), -1, -2, -3),
			in(behind(newJob("all"), -2, backend.NeedsDone), -1),
			in(behind(newJob("end"), -2, backend.NeedsEnded), -1),
			in(behind(newJob("one"), -3, backend.NeedsDone), -1))
		if g := e.gate(gates[1]); g.Kind != backend.NeedGate || !g.Sealed || g.Waiting != 2 {
			e.Errorf("the gate is %+v", g)
		}
		e.wantStates("stored", ids, pending, pending, blocked, blocked, blocked)
		if g := e.get(ids[2]).Gating; g == nil || g.Gate != gates[1] || g.When != backend.NeedsDone || !slices.Equal(g.Gates, gates[:1]) {
			e.Errorf("the dependent has %+v", g)
		}
		e.finish("b")
		e.wantStates("b is done", ids, pending, done, blocked, blocked, pending)
		e.failOne("a")
		e.wantStates("a has failed", ids, failed, done, cancelled, pending, pending)
		if got, want := e.lastError(ids[2]), backend.NeedError+"1 of 2 failed"; got != want {
			e.Errorf("the error is %q, want %q", got, want)
		}
		j := e.claim1(e.b, e.worker(), "end")
		if j.Gating == nil || j.Gating.Gate != gates[1] || j.Gating.When != backend.NeedsEnded || !slices.Equal(j.Gating.Gates, gates[:1]) {
			e.Errorf("claimed with %+v", j.Gating)
		}
		e.complete(e.b, j.Lease)
		e.wantGate("one is left", gates[0], "5/1 2 1 1")
		e.finish("one")
		e.wantGate("all ended", gates[0], "5/0 3 1 1 ended")
	},
}, {
	name: "flow/lenient",
	rule: "a NeedEndGate counts in its parent as done, however it ended; a NeedGate that does not counts as failed",
	run: func(e *env) {
		lenient, strict := backend.NewGate{Kind: backend.NeedEndGate, Parent: -2, Sealed: true}, need()
		strict.Parent = -4
		gates, ids := e.flowGates([]backend.NewGate{need(), lenient, need(), strict},
			in(newJob("a"), -1, -3, -5),
			in(behind(newJob("lenient"), -2, backend.NeedsDone), -1),
			in(behind(newJob("strict"), -4, backend.NeedsDone), -1))
		e.failOne("a")
		e.wantStates("a has failed", ids, failed, pending, cancelled)
		e.wantGate("the parent of a NeedEndGate", gates[1], "1/0 1 0 0 ended")
		e.wantGate("the parent of a NeedGate", gates[3], "1/0 0 1 0 ended")
	},
}, {
	name: "flow/hub",
	rule: "the end of a HubGate is counted once in each gate that awaits it, as done or failed, however many these are",
	run: func(e *env) {
		const n = 450
		hub := func(end string) (gates, ids []int64) {
			// The first gate after the hub needs another job, too.
			all := []backend.NewGate{{Kind: backend.HubGate, Sealed: true}}
			jobs := []backend.NewJob{in(newJob(end), -1, -2), in(newJob("other"), -1, -3)}
			for i := range n {
				g := need()
				g.Awaits = -2
				all = append(all, g)
				jobs = append(jobs, in(behind(newJob("next"), int64(-3-i), backend.NeedsDone), -1))
			}
			return e.flowGates(all, jobs...)
		}
		gates, ids := hub("ok")
		if g := e.gate(gates[2]); g.Awaits != gates[1] || !g.Awaiting {
			e.Errorf("the gate is %+v", g)
		}
		e.wantGate("awaiting", gates[2], "2/2 0 0 0")
		e.wantGate("awaiting", gates[n+1], "1/1 0 0 0")
		e.finish("ok")
		settled := func(what string, want backend.State) {
			e.Helper()
			for range 20 { // the rest may follow soon
				e.reap(e.b, backend.ReapRequest{})
			}
			for i, id := range ids[3:] {
				if got := e.state(id); got != want {
					e.Fatalf("%s: job %d is %v, want %v", what, i+1, got, want)
				}
			}
			e.wantStates(what, ids[2:3], blocked)
		}
		settled("the hub is done", pending)
		e.wantGate("the hub is done", gates[2], "2/1 1 0 0")
		e.wantGate("the hub is done", gates[n+1], "1/0 1 0 0 ended")
		if g := e.gate(gates[n+1]); g.Awaiting {
			e.Errorf("the gate is %+v", g)
		}
		e.finish("other")
		e.wantStates("the other is done", ids[2:3], pending)
		if got := len(e.finish("next")); got != n {
			e.Errorf("%d jobs ran, want %d", got, n)
		}
		gates, ids = hub("fails")
		e.failOne("fails")
		settled("the hub has failed", cancelled)
		e.wantGate("the hub has failed", gates[2], "2/1 0 1 0")
		e.finish("other")
		e.wantStates("the other is done", ids[2:3], cancelled)
		e.wantGate("all ended", gates[0], "452/0 1 1 450 ended")
	},
}, {
	name: "flow/kept",
	rule: "History does not delete finished jobs of a FlowGate that has not ended, whatever their end, their age and their number; afterwards it does",
	opts: Options{History: backend.History{Done: -1, Failed: -1, Rows: 1}},
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("the store's clock cannot be moved")
		}
		stored := newJob("a")
		gates, ids := e.flowGates([]backend.NewGate{need()},
			in(stored, -1, -2), in(stored, -1, -2), in(newJob("b"), -1), in(newJob("c"), -1),
			in(behind(newJob("last"), -2, backend.NeedsDone), -1))
		alone := e.pushJobs(e.b, newJob("a"))[0]
		w := e.worker()
		jobs := e.claim(e.b, w, 3, "a")
		e.wantIDs("Claim", jobs, ids[0], ids[1], alone)
		for _, j := range jobs {
			if _, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: j.Lease, Result: []byte("r")}}); err != nil {
				e.Fatalf("Complete: %v", err)
			}
		}
		e.failOne("b")
		e.operate(backend.OpCancel, backend.Filter{IDs: ids[3:4]})
		for range 3 {
			e.advance(time.Hour)
			e.reap(e.b, backend.ReapRequest{})
		}
		e.wantStates("the flow has not ended", append(ids, alone), done, done, failed, cancelled, pending, 0)
		if got := string(e.get(ids[1]).Result); got != "r" {
			e.Errorf("the result is %q", got)
		}
		e.finish("last")
		e.wantGate("all ended", gates[0], "5/0 3 1 1 ended")
		for range 3 {
			e.advance(time.Minute)
			e.reap(e.b, backend.ReapRequest{})
		}
		e.wantStates("the flow has ended", ids, 0, 0, 0, 0, 0)
	},
}, {
	name: "flow/delete-hub",
	rule: "a HubGate is deleted only after its end has been counted in all gates that await it",
	run: func(e *env) {
		const n = 450
		all := []backend.NewGate{{Kind: backend.HubGate, Sealed: true}}
		for range n {
			g := need()
			g.Awaits = -2
			all = append(all, g)
		}
		gates, _ := e.flowGates(all, in(newJob("a"), -1, -2))
		e.wantGate("awaiting", gates[n+1], "1/1 0 0 0")
		e.complete(e.b, e.claim1(e.b, e.worker(), "a").Lease)
		for range 20 {
			if _, err := e.gateStore(e.b).DeleteGates(e.ctx, gates[1:2]); err != nil {
				e.Fatalf("DeleteGates: %v", err)
			}
			e.reap(e.b, backend.ReapRequest{})
		}
		for _, id := range gates[2:] {
			e.wantGate("its hub is deleted", id, "1/0 1 0 0 ended")
		}
	},
}, {
	name: "flow/listed",
	rule: "Gates leaves out what jobs of flows depend on, unless the query has IDs, Parent or Needs; Reap keeps such a gate as long as one of its jobs is stored",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("the store's clock cannot be moved")
		}
		inner := backend.NewGate{Kind: backend.NeedEndGate, Parent: -2, Sealed: true}
		gates, ids := e.flowGates([]backend.NewGate{need(), inner, {Kind: backend.HubGate, Sealed: true}},
			in(newJob("a"), -1, -2, -3, -4), in(behind(newJob("b"), -2, backend.NeedsDone), -1))
		query := func(q backend.GateQuery) (found []int64) {
			e.Helper()
			infos, err := e.gateStore(e.b).Gates(e.ctx, q)
			if err != nil {
				e.Fatalf("Gates: %v", err)
			}
			for _, g := range infos {
				if g.ID >= gates[0] {
					found = append(found, g.ID)
				}
			}
			slices.Sort(found)
			return found
		}
		for what, c := range map[string]struct {
			query backend.GateQuery
			want  []int64
		}{
			"all":         {backend.GateQuery{}, gates[:1]},
			"open":        {backend.GateQuery{Open: true}, gates[:1]},
			"with Needs":  {backend.GateQuery{Needs: true}, gates},
			"with IDs":    {backend.GateQuery{IDs: gates[1:3]}, gates[1:3]},
			"with Parent": {backend.GateQuery{Parent: gates[1]}, gates[2:3]},
		} {
			if got := query(c.query); !slices.Equal(got, c.want) {
				e.Errorf("Gates %s returned %v, want %v", what, got, c.want)
			}
		}
		e.set(e.b, backend.Settings{Name: "a", History: backend.History{Done: 90 * 24 * time.Hour}})
		e.finish("a")
		e.wantStates("a is done", ids, done, pending)
		e.finish("b")
		for i, counts := range []string{"2/0 2 0 0 ended", "2/0 2 0 0 ended", oneDone, oneDone} {
			e.wantGate("all ended", gates[i], counts)
		}
		e.advance(backend.KeepEnded + time.Hour)
		for range 3 {
			e.reap(e.b, backend.ReapRequest{})
		}
		if got := query(backend.GateQuery{IDs: gates}); !slices.Equal(got, gates[1:]) {
			e.Errorf("after 30 days %v are left, want %v", got, gates[1:])
		}
		e.operate(backend.OpDelete, backend.Filter{IDs: ids})
		for range 3 {
			e.reap(e.b, backend.ReapRequest{})
		}
		if got := query(backend.GateQuery{IDs: gates}); len(got) > 0 {
			e.Errorf("without jobs %v are left", got)
		}
	},
}, {
	name: "flow/invalid",
	rule: "CreateGates refuses an unknown kind, and Awaits that is not an earlier hub of the request",
	run: func(e *env) {
		hub := backend.NewGate{Kind: backend.HubGate, Sealed: true}
		gates, _ := e.flowGates([]backend.NewGate{hub})
		for what, all := range map[string][]backend.NewGate{
			"an unknown kind":        {{Kind: backend.HubGate + 1}},
			"a hub that is stored":   {{Kind: backend.NeedGate, Awaits: gates[1]}},
			"itself":                 {{Kind: backend.HubGate, Awaits: -1}},
			"a later hub":            {{Kind: backend.NeedGate, Awaits: -2}, hub},
			"a gate that is no hub":  {need(), {Kind: backend.NeedGate, Awaits: -1}},
			"a gate that is unknown": {hub, {Kind: backend.NeedGate, Awaits: -9}},
		} {
			if _, err := e.gateStore(e.b).CreateGates(e.ctx, nil, backend.GateRequest{Gates: all}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("CreateGates with %s: %v", what, err)
			}
		}
	},
}, {
	name: "flow/import",
	rule: "Import keeps the kinds of gates and what they await, and the finished jobs of a flow that has not ended; a hub that has ended meanwhile is counted",
	opts: Options{History: backend.History{Done: -1}},
	run: func(e *env) {
		awaits := need()
		awaits.Awaits = -2
		lenient := backend.NewGate{Kind: backend.NeedEndGate, Parent: -3, Sealed: true}
		gates, ids := e.flowGates([]backend.NewGate{{Kind: backend.HubGate, Sealed: true}, awaits, lenient},
			in(newJob("a"), -1, -2), in(newJob("b"), -1, -3), in(newJob("c"), -1, -4),
			in(behind(newJob("last"), -3, backend.NeedsDone), -1))
		e.finish("b")
		e.failOne("c")
		batch := e.exportAll(e.b, 2)
		infos, err := e.gateStore(e.b).Gates(e.ctx, backend.GateQuery{Needs: true})
		if err != nil {
			e.Fatalf("Gates: %v", err)
		}
		slices.Reverse(infos)
		batch.Gates = infos
		source := e.b
		e.b = e.elsewhere()
		e.imports(e.b, batch)
		e.wantStates("imported", ids, pending, done, failed, blocked)
		if g := e.gate(gates[2]); g.Awaits != gates[1] || !g.Awaiting || g.Kind != backend.NeedGate {
			e.Errorf("the imported gate is %+v", g)
		}
		e.finish("a")
		e.wantStates("a is done", ids, done, done, failed, pending)
		e.finish("last")
		e.wantGate("all ended", gates[0], "4/0 3 1 0 ended")

		// The hub has ended, and the gate that awaits it has not counted it when the export reads it.
		e.b = source
		e.finish("a")
		batch = e.exportAll(e.b, 2)
		hub := slices.IndexFunc(infos, func(g backend.GateInfo) bool { return g.ID == gates[1] })
		infos[hub] = e.gate(gates[1])
		flow := slices.IndexFunc(infos, func(g backend.GateInfo) bool { return g.ID == gates[0] })
		infos[flow] = e.gate(gates[0])
		batch.Gates = infos
		at := slices.IndexFunc(batch.Jobs, func(r backend.Record) bool { return r.ID == ids[3] })
		last := &batch.Jobs[at]
		last.State, last.BlockedBy, last.FinishedAt, last.Errors = blocked, 0, time.Time{}, nil
		e.b = e.elsewhere()
		e.imports(e.b, batch)
		e.wantStates("imported after the end of the hub", ids[3:], pending)
		if text := e.lastError(ids[3]); strings.Contains(text, backend.NeedError) {
			e.Errorf("the error is %q", text)
		}
	},
}}
