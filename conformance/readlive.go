package conformance

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var readLiveCases = []testCase{{
	name: "read/workers",
	rule: "Workers shows each worker as registered, with its last renewal and the number of jobs that it holds",
	run: func(e *env) {
		e.push(e.b, "a", 3)
		one, two := e.worker(), e.worker()
		one.Host, one.PID, one.Version, one.Process, one.Jobs, one.Schedules = "höst", 4711, "v1.2.3", "its process", []string{"a", "b"}, []string{"s"}
		e.claim(e.b, one, 2, "a")
		e.advance(e.unit / 10)
		e.claim(e.b, two, 0)
		e.advance(e.unit / 10)
		later := one
		later.Jobs, later.Host = nil, "elsewhere" // what it registered with holds
		e.claim(e.b, later, 0)
		workers := e.workers()
		if len(workers) != 2 || workers[0].ID != one.ID || workers[1].ID != two.ID {
			e.Fatalf("Workers = %+v", workers)
		}
		w := workers[0]
		if !reflect.DeepEqual(w.Worker, one) || !w.Alive || w.Running != 2 || w.StartedAt.IsZero() || w.SeenAt.Sub(w.StartedAt) < e.unit/5 {
			e.Errorf("the first worker is %+v, want %+v", w, one)
		}
		if w := workers[1]; w.Running != 0 || len(w.Jobs) != 0 || len(w.Schedules) != 0 || !w.SeenAt.Equal(w.StartedAt) {
			e.Errorf("the second worker is %+v", w)
		}
		e.advance(e.unit * 2 / 3)
		e.claim(e.b, two, 0)
		e.advance(e.unit * 2 / 3)
		if workers = e.workers(); workers[0].Alive || !workers[1].Alive {
			e.Errorf("Workers = %+v, want only the second alive", workers)
		}
		e.reap(e.b, backend.ReapRequest{Expired: true})
		if workers = e.workers(); len(workers) != 1 || workers[0].ID != two.ID {
			e.Errorf("after Reap Workers = %+v", workers)
		}
	},
}, {
	name: "read/stuck",
	rule: "Workers shows the stuck runs that a worker reported last, and none of a worker that has another row",
	run: func(e *env) {
		p := capability[backend.Heartbeater](e, e.other())
		w, other := e.worker(), e.worker()
		e.claim(e.b, w, 0)
		e.claim(e.b, other, 0)
		beat := func(stuck []backend.Stuck, want ...backend.Stuck) {
			e.Helper()
			if _, err := p.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Stuck: stuck}); err != nil {
				e.Fatalf("Heartbeat: %v", err)
			}
			for _, shown := range e.workers() {
				if shown.ID == w.ID && !slices.Equal(shown.Stuck, want) || shown.ID == other.ID && len(shown.Stuck) > 0 {
					e.Errorf("after a heartbeat with the stuck runs %+v, Workers has %+v, want %+v", stuck, shown, want)
				}
			}
		}
		one, two := backend.Stuck{ID: 7, Name: "a", Stack: "main.f(…)\n\t/f.go:1"}, backend.Stuck{ID: 8, Name: "b <ü>"}
		beat(nil)
		beat([]backend.Stuck{one, two}, one, two)
		beat(nil, one, two)
		beat([]backend.Stuck{two}, two)
		beat([]backend.Stuck{})
		beat([]backend.Stuck{{ID: 9, Name: "a", Stack: "a\x00\xff"}}, backend.Stuck{ID: 9, Name: "a", Stack: backend.CleanError("a\x00\xff")})
		for _, wrong := range [][]backend.Stuck{slices.Repeat([]backend.Stuck{one}, backend.MaxStuck+1), {{Name: ""}}, {{Name: "a", Stack: strings.Repeat("s", backend.MaxStack+1)}}} {
			if _, err := p.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Stuck: wrong}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("a heartbeat with %d wrong stuck runs = %v, want ErrInvalid", len(wrong), err)
			}
		}
		if _, err := p.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
			e.Fatalf("Heartbeat: %v", err)
		}
		e.claim(e.b, w, 0)
		for _, shown := range e.workers() {
			if len(shown.Stuck) > 0 {
				e.Errorf("a worker that has left and registered again has the stuck runs %+v", shown.Stuck)
			}
		}
	},
}, {
	name: "read/progress",
	rule: "progress is stored for a lease that is held, and ignored for others",
	run: func(e *env) {
		p := capability[backend.Heartbeater](e, e.other())
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, e.worker(), 2, "a")
		stale := backend.Lease{ID: jobs[1].ID, Token: jobs[1].Token + 1000}
		report := func(progress ...backend.Progress) {
			e.Helper()
			if err := p.StoreProgress(e.ctx, progress); err != nil {
				e.Errorf("Progress: %v", err)
			}
		}
		report(backend.Progress{Lease: jobs[0].Lease, Done: 1, Total: 5}, backend.Progress{Lease: stale, Done: 3, Total: 3},
			backend.Progress{Lease: backend.Lease{ID: 1 << 40, Token: 1}, Done: 1})
		report(backend.Progress{Lease: jobs[0].Lease, Done: 2, Total: 1 << 40})
		report()
		if info := e.get(ids[0]); info.Done != 2 || info.Total != 1<<40 || info.State != backend.Running {
			e.Errorf("the job is %+v", info)
		}
		if info := e.get(ids[1]); info.Done != 0 || info.Total != 0 {
			e.Errorf("the other job is %+v", info)
		}
		e.complete(e.b, jobs[0].Lease)
		report(backend.Progress{Lease: jobs[0].Lease, Done: 3, Total: 3})
		if info := e.get(ids[0]); info.Done != 2 {
			e.Errorf("after its end the progress of the job is %d", info.Done)
		}
	},
}, {
	name: "read/started",
	rule: "StartedAt is when the current or the last run started, as a heartbeat or its settlement reported; a claim reports nothing, and a waiting job has no StartedAt",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		w := e.worker()
		ids := e.push(e.b, "a", 5)
		jobs := e.claim(e.b, w, 5, "a")
		want := func(what string, id int64, at time.Time) {
			e.Helper()
			got := e.get(id).StartedAt
			// A store may read its clock more than once.
			if got.IsZero() != at.IsZero() || !at.IsZero() && got.Sub(at).Abs() > e.unit/2 {
				e.Errorf("%s job %d was started at %v, want %v", what, id, got, at)
			}
			page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{IDs: []int64{id}}})
			if err != nil || len(page.Jobs) != 1 || !page.Jobs[0].StartedAt.Equal(got) {
				e.Errorf("%s List shows %+v, %v; want what Get shows, %v", what, page.Jobs, err, got)
			}
		}
		var none time.Time
		for _, id := range ids {
			want("after the claim", id, none)
		}
		ran := 3 * e.unit
		stale := backend.Lease{ID: jobs[1].ID, Token: jobs[1].Token + 1000}
		r, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Started: []backend.Started{
			{Lease: jobs[0].Lease, For: ran}, {Lease: stale, For: ran}, {Lease: backend.Lease{ID: 1 << 40, Token: 1}, For: ran}, {Lease: jobs[4].Lease, For: ran},
		}})
		if err != nil {
			e.Fatalf("Heartbeat: %v", err)
		}
		started := r.Now.Add(-ran)
		if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w}); err != nil {
			e.Fatalf("Heartbeat: %v", err)
		}
		want("after the heartbeat", ids[0], started)
		want("after a heartbeat under another lease", ids[1], none)

		// Of the next run nothing is known.
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndRetry, Error: "x", Took: ran})
		want("while it waits", ids[0], none)
		if again := e.claim(e.b, w, 1, "a"); again[0].ID != ids[0] {
			e.Fatalf("Claim returned job %d", again[0].ID)
		}
		want("after the next claim", ids[0], none)

		if _, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: jobs[1].Lease, Took: ran}, {Lease: jobs[2].Lease}}); err != nil {
			e.Fatalf("Complete: %v", err)
		}
		want("done", ids[1], e.get(ids[1]).FinishedAt.Add(-ran))
		want("done without a report", ids[2], none)
		e.fail(e.b, backend.Failure{Lease: jobs[3].Lease, Ending: backend.EndFailed, Error: "x", Took: ran})
		want("failed", ids[3], e.get(ids[3]).FinishedAt.Add(-ran))
		e.complete(e.b, jobs[4].Lease)
		want("done, reported by a heartbeat", ids[4], started)
		if _, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: jobs[4].Lease, Took: e.unit}}); err != nil {
			e.Fatalf("Complete: %v", err)
		}
		want("settled again", ids[4], started)
	},
}, {
	name: "read/invalid",
	rule: "a list that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		for _, req := range []backend.ListRequest{{Limit: -1}, {Limit: 1001}, {Filter: backend.Filter{States: []backend.State{99}}}, {Before: -1},
			{Filter: backend.Filter{IDs: make([]int64, 1001)}}, {Filter: backend.Filter{Since: time.Unix(1, 0), Until: time.Unix(1, 0)}}} {
			if _, err := e.reader().List(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("List(%+v) = %v, want ErrInvalid", req, err)
			}
		}
	},
}, {
	name: "read/count",
	rule: "Count returns the number of jobs by name and state, the same to every process",
	run: func(e *env) {
		other := e.store.Open(e)
		e.push(e.b, "b", 2)
		e.push(other, "a", 3)
		jobs := e.claim(other, e.worker(), 2, "a")
		e.complete(e.b, jobs[0].Lease)
		const want = "a pending=1 a running=1 a done=1 b pending=2"
		e.wantCounts(want)
		if got := e.counts(capability[backend.Reader](e, other)); got != want {
			e.Errorf("counts by another handle are %q, want %q", got, want)
		}
	},
}, {
	name: "read/writes-go-on",
	rule: "reading holds up no writing: between two pages of a list or an export jobs are pushed, claimed and settled",
	run: func(e *env) {
		reader := e.reader()
		e.push(e.b, "a", 3)
		write := func() {
			id := e.push(e.other(), "b", 1)[0]
			j := e.claim1(e.b, e.worker(), "b")
			e.wantLost("Complete", e.complete(e.other(), j.Lease))
			e.wantState(id, backend.Done)
		}
		page, err := reader.List(e.ctx, backend.ListRequest{Limit: 1})
		if err != nil || page.Next == 0 {
			e.Fatalf("List = %+v, %v", page, err)
		}
		write()
		if page, err = reader.List(e.ctx, backend.ListRequest{Limit: 1, Before: page.Next}); err != nil || page.Next == 0 {
			e.Errorf("List of the next page = %+v, %v", page, err)
		}
		if x, ok := e.b.(backend.ExportImporter); ok {
			batch, err := x.Export(e.ctx, backend.ExportRequest{Jobs: 1})
			if err != nil || len(batch.Jobs) != 1 {
				e.Fatalf("Export = %+v, %v", batch, err)
			}
			write()
		}
	},
}}
